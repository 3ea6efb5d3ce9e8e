-- The figures of a month read alarms by alarms_raised of 0007.

-- The desk's list is read in the order of this index, so that neither the closed alarms nor the open ones beyond its limit
-- cost anything: with 10,000 open ones a sort took several times what the list may take. The expressions are those of
-- open_alarms in store/queries/duty.sql, word for word, else the index serves nobody.
CREATE INDEX alarms_listed ON alarms
    ((class <> 'life'), (array_position(ARRAY['critical', 'high', 'medium', 'low'], severity)), raised_at, alarm_id)
    WHERE closed_at IS NULL AND suppressed IS NULL;
