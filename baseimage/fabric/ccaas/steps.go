package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// detect succeeds if a package is for this builder: its type is ccaas.
func detect(metadata string) error {
	path := filepath.Join(metadata, "metadata.json")
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var described struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(content, &described); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !strings.EqualFold(described.Type, "ccaas") {
		return fmt.Errorf("%s: the type is %q, not ccaas", path, described.Type)
	}
	return nil
}

// build copies the inputs of release: the metadata, the indexes under META-INF, and the connection with its
// values.
func build(source, metadata, output, values string) error {
	if err := detect(metadata); err != nil {
		return err
	}
	if err := os.CopyFS(output, os.DirFS(metadata)); err != nil {
		return err
	}
	if err := copyIfPresent(filepath.Join(source, "META-INF"), filepath.Join(output, "META-INF")); err != nil {
		return err
	}
	path := filepath.Join(source, "connection.json")
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	filled, err := fill(content, values)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return writeConnection(output, filled)
}

// release puts the connection and the indexes where the peer reads them.
func release(output, release string) error {
	if err := copyIfPresent(filepath.Join(output, "META-INF", "statedb"), filepath.Join(release, "statedb")); err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(output, "connection.json"))
	if err != nil {
		return err
	}
	server := filepath.Join(release, "chaincode", "server")
	if err := os.MkdirAll(server, 0o750); err != nil {
		return err
	}
	return writeConnection(server, content)
}

// writeConnection writes a file that only the peer can read: the connection may contain a private key.
func writeConnection(directory string, content []byte) error {
	return os.WriteFile(filepath.Join(directory, "connection.json"), content, 0o600)
}

func copyIfPresent(from, to string) error {
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.CopyFS(to, os.DirFS(from))
}
