-- Users joined per year, 2015-2020
-- A user is a person (name, age and date joined), however many keys the person has.
-- post_year is the year joined, in UTC.
WITH people AS (
    SELECT DISTINCT user_name, age, date_joined
    FROM users
),
joined AS (
    SELECT EXTRACT(YEAR FROM date_joined) AS post_year
    FROM people
)
SELECT post_year, COUNT(*) AS number_users_joined
FROM joined
WHERE post_year BETWEEN 2015 AND 2020
GROUP BY post_year
ORDER BY post_year;
