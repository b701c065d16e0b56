-- What was found about the ledger of this generation that nothing but the next one ends, in words.
ALTER TABLE cluster ADD COLUMN ledger_fault TEXT;
