-- Posts of each category per year, 2018-2022
-- A post counts once, by the newest version of its key's records.
-- Its year is that of its geo record's timestamp, in UTC.
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
