-- Posts of each category per year, 2018-2022
-- A post's year is that of its geo record's timestamp, in UTC.
WITH posts AS (
    SELECT EXTRACT(YEAR FROM geo.timestamp) AS post_year, pin.category
    FROM pin
    JOIN geo ON geo.ind = pin.ind
    WHERE pin.category IS NOT NULL
)
SELECT post_year, category, COUNT(*) AS category_count
FROM posts
WHERE post_year BETWEEN 2018 AND 2022
GROUP BY post_year, category
ORDER BY post_year, category_count DESC, category;

-- Most popular category per year, 2018-2022
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
)
SELECT post_year, category, category_count
FROM ranked
WHERE place = 1
ORDER BY post_year, category;
