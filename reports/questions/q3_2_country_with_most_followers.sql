-- Country with the user with most followers
-- A user is a poster; posts without a poster's name or a follower count take no part.
-- All winners of a tie are listed ("3 tie").
WITH posters AS (
    SELECT DISTINCT geo.country, pin.poster_name, pin.follower_count
    FROM pin
    JOIN geo ON geo.ind = pin.ind
    WHERE geo.country IS NOT NULL
        AND pin.poster_name IS NOT NULL
        AND pin.follower_count IS NOT NULL
),
winners AS (
    SELECT posters.*, COUNT(*) OVER () AS ties
    FROM posters
    WHERE follower_count = (SELECT MAX(follower_count) FROM posters)
)
SELECT
    country,
    poster_name,
    follower_count,
    CASE WHEN ties > 1 THEN ties || ' tie' END AS note
FROM winners
ORDER BY country, poster_name;
