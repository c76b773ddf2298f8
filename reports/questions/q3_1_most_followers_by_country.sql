-- User with most followers in each country
-- A user is a poster; posts without a poster's name or a follower count take no part.
-- All winners of a tie are listed ("3 tie"); "1 post": the country has no other post.
WITH posts AS (
    SELECT geo.country, pin.poster_name, pin.follower_count
    FROM pin
    JOIN geo ON geo.ind = pin.ind
    WHERE geo.country IS NOT NULL
        AND pin.poster_name IS NOT NULL
        AND pin.follower_count IS NOT NULL
),
posters AS (
    SELECT
        country,
        poster_name,
        MAX(follower_count) AS follower_count,
        SUM(COUNT(*)) OVER (PARTITION BY country) AS country_posts
    FROM posts
    GROUP BY country, poster_name
),
ranked AS (
    SELECT posters.*, RANK() OVER (PARTITION BY country ORDER BY follower_count DESC) AS place
    FROM posters
),
winners AS (
    SELECT ranked.*, COUNT(*) OVER (PARTITION BY country) AS ties
    FROM ranked
    WHERE place = 1
)
SELECT
    country,
    poster_name,
    follower_count,
    NULLIF(CONCAT_WS(
        ', ',
        CASE WHEN ties > 1 THEN ties || ' tie' END,
        CASE WHEN country_posts = 1 THEN '1 post' END
    ), '') AS note
FROM winners
ORDER BY country, poster_name;
