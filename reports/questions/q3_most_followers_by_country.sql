-- User with most followers in each country
-- A user is a poster; posters without a name or a follower count take no part.
WITH posters AS (
    SELECT DISTINCT geo.country, pin.poster_name, pin.follower_count
    FROM pin
    JOIN geo ON geo.ind = pin.ind
    WHERE geo.country IS NOT NULL
        AND pin.poster_name IS NOT NULL
        AND pin.follower_count IS NOT NULL
),
ranked AS (
    SELECT posters.*, RANK() OVER (PARTITION BY country ORDER BY follower_count DESC) AS place
    FROM posters
)
SELECT country, poster_name, follower_count
FROM ranked
WHERE place = 1
ORDER BY country, poster_name;

-- Country with the user with most followers
WITH posters AS (
    SELECT DISTINCT geo.country, pin.follower_count
    FROM pin
    JOIN geo ON geo.ind = pin.ind
    WHERE geo.country IS NOT NULL
        AND pin.poster_name IS NOT NULL
        AND pin.follower_count IS NOT NULL
)
SELECT country, follower_count
FROM posters
WHERE follower_count = (SELECT MAX(follower_count) FROM posters)
ORDER BY country;
