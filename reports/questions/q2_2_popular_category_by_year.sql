-- Most popular category per year, 2018-2022
-- A post's year is that of its geo record's timestamp, in UTC.
-- All winners of a tie are listed ("3 tie"); "1 post": the winner has a single post.
WITH posts AS (
    SELECT EXTRACT(YEAR FROM geo.timestamp) AS post_year, pin.category
    FROM pin
    JOIN geo ON geo.ind = pin.ind
    WHERE pin.category IS NOT NULL
),
counted AS (
    SELECT post_year, category, COUNT(*) AS category_count
    FROM posts
    WHERE post_year BETWEEN 2018 AND 2022
    GROUP BY post_year, category
),
ranked AS (
    SELECT counted.*, RANK() OVER (PARTITION BY post_year ORDER BY category_count DESC) AS place
    FROM counted
),
winners AS (
    SELECT ranked.*, COUNT(*) OVER (PARTITION BY post_year) AS ties
    FROM ranked
    WHERE place = 1
)
SELECT
    post_year,
    category,
    category_count,
    NULLIF(CONCAT_WS(
        ', ',
        CASE WHEN ties > 1 THEN ties || ' tie' END,
        CASE WHEN category_count = 1 THEN '1 post' END
    ), '') AS note
FROM winners
ORDER BY post_year, category;
