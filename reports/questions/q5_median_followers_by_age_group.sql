-- Median follower count per age group
-- The median is over posts, one per key, not over users; posts without a count take no part.
-- 36-50 includes 50, 50+ begins at 51; users under 18 or without an age take no part.
WITH posts AS (
    SELECT
        CASE
            WHEN users.age BETWEEN 18 AND 24 THEN '18-24'
            WHEN users.age BETWEEN 25 AND 35 THEN '25-35'
            WHEN users.age BETWEEN 36 AND 50 THEN '36-50'
            WHEN users.age > 50 THEN '50+'
        END AS age_group,
        pin.follower_count
    FROM pin
    JOIN users ON users.ind = pin.ind
)
SELECT
    age_group,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY follower_count) AS median_follower_count
FROM posts
WHERE age_group IS NOT NULL AND follower_count IS NOT NULL
GROUP BY age_group
ORDER BY age_group;
