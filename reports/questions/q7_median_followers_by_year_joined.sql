-- Median follower count by year joined, 2015-2020
-- The median is over posts, one per key, not over users; posts without a count take no part.
-- post_year is the year joined, in UTC.
WITH posts AS (
    SELECT EXTRACT(YEAR FROM users.date_joined) AS post_year, pin.follower_count
    FROM pin
    JOIN users ON users.ind = pin.ind
)
SELECT
    post_year,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY follower_count) AS median_follower_count
FROM posts
WHERE post_year BETWEEN 2015 AND 2020 AND follower_count IS NOT NULL
GROUP BY post_year
ORDER BY post_year;
