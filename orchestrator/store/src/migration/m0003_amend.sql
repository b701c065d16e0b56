-- The original parameters of a cluster while amendments change them; the next generation uses them again.
ALTER TABLE cluster ADD COLUMN made_with TEXT;
