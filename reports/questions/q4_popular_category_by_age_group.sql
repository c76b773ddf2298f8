-- Most popular category per age group
-- 36-50 includes 50, 50+ begins at 51; users under 18 or without an age take no part.
-- All winners of a tie are listed ("3 tie"); "1 post": the winner has a single post.
WITH posts AS (
    SELECT
        CASE
            WHEN users.age BETWEEN 18 AND 24 THEN '18-24'
            WHEN users.age BETWEEN 25 AND 35 THEN '25-35'
            WHEN users.age BETWEEN 36 AND 50 THEN '36-50'
            WHEN users.age > 50 THEN '50+'
        END AS age_group,
        pin.category
    FROM pin
    JOIN users ON users.ind = pin.ind
),
counted AS (
    SELECT age_group, category, COUNT(*) AS category_count
    FROM posts
    WHERE age_group IS NOT NULL AND category IS NOT NULL
    GROUP BY age_group, category
),
ranked AS (
    SELECT counted.*, RANK() OVER (PARTITION BY age_group ORDER BY category_count DESC) AS place
    FROM counted
),
winners AS (
    SELECT ranked.*, COUNT(*) OVER (PARTITION BY age_group) AS ties
    FROM ranked
    WHERE place = 1
)
SELECT
    age_group,
    category,
    category_count,
    NULLIF(CONCAT_WS(
        ', ',
        CASE WHEN ties > 1 THEN ties || ' tie' END,
        CASE WHEN category_count = 1 THEN '1 post' END
    ), '') AS note
FROM winners
ORDER BY age_group, category;
