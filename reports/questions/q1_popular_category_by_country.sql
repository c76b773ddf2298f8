-- Most popular category in each country
-- A post counts once, by the newest version of its key's records.
-- All winners of a tie are listed ("3 tie"); "1 post": the winner has a single post.
WITH counted AS (
    SELECT geo.country, pin.category, COUNT(*) AS category_count
    FROM pin
    JOIN geo ON geo.ind = pin.ind
    WHERE geo.country IS NOT NULL AND pin.category IS NOT NULL
    GROUP BY geo.country, pin.category
),
ranked AS (
    SELECT counted.*, RANK() OVER (PARTITION BY country ORDER BY category_count DESC) AS place
    FROM counted
),
winners AS (
    SELECT ranked.*, COUNT(*) OVER (PARTITION BY country) AS ties
    FROM ranked
    WHERE place = 1
)
SELECT
    country,
    category,
    category_count,
    NULLIF(CONCAT_WS(
        ', ',
        CASE WHEN ties > 1 THEN ties || ' tie' END,
        CASE WHEN category_count = 1 THEN '1 post' END
    ), '') AS note
FROM winners
ORDER BY country, category;
