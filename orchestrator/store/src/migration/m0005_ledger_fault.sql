-- Human-readable permanent fault of this generation's ledger; only a reset clears it.
ALTER TABLE cluster ADD COLUMN ledger_fault TEXT;
