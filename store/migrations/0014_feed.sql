-- Whoever follows the alarms is told of each change: every one has its line in the log.

CREATE FUNCTION alarm_log_tells() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- A full queue of notices would fail the commit of an alarm; who follows looks every 2 s whether any was swallowed.
    IF pg_notification_queue_usage() > 0.5 THEN
        RETURN NULL;
    END IF;
    PERFORM pg_notify('carebell_alarms', string_agg(alarm_id::text, ',' ORDER BY alarm_id))
    FROM (
        SELECT alarm_id, row_number() OVER (ORDER BY alarm_id) - 1 AS place
        FROM (SELECT DISTINCT alarm_id FROM added) AS changed
    ) AS numbered
    GROUP BY place / 340;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION alarm_log_tells IS
    'Tells the channel carebell_alarms the numbers of alarms that changed, comma-separated: 340 at once, below 7000 bytes.';
CREATE TRIGGER alarm_log_told AFTER INSERT ON alarm_log REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION alarm_log_tells();
