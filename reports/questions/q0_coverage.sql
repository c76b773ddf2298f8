-- Coverage
-- A record counts once per key, by its newest version: the latest timestamp, then coordinates.
-- The year of a post is that of its geo record's timestamp, in UTC.
SELECT
    COUNT(*) AS pins,
    COUNT(geo.ind) AS with_geo,
    COUNT(users.ind) AS with_user,
    COUNT(*) FILTER (
        WHERE EXTRACT(YEAR FROM geo.timestamp) NOT BETWEEN 2018 AND 2022
    ) AS outside_2018_2022
FROM pin
LEFT JOIN geo ON geo.ind = pin.ind
LEFT JOIN users ON users.ind = pin.ind;
