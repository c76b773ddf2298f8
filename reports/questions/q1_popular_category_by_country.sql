-- Most popular category in each country
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
)
SELECT country, category, category_count
FROM ranked
WHERE place = 1
ORDER BY country, category;
