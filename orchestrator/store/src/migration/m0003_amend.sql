-- What a cluster was made with, while it is another by amendments; its next generation is made with this again.
ALTER TABLE cluster ADD COLUMN made_with TEXT;
