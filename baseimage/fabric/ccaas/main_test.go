package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// directories are the arguments of a peer: an unpacked package and empty directories for the results.
type directories struct{ source, metadata, output, release string }

func unpacked(t *testing.T, kind, connection string) directories {
	t.Helper()
	root := t.TempDir()
	f := directories{filepath.Join(root, "src"), filepath.Join(root, "metadata"), filepath.Join(root, "bld"), filepath.Join(root, "release")}
	for _, directory := range []string{f.source, f.metadata, f.output, f.release} {
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(f.metadata, "metadata.json"), `{"type":"`+kind+`","label":"kv_1.0"}`)
	if connection != "" {
		write(t, filepath.Join(f.source, "connection.json"), connection)
	}
	return f
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func (f directories) detect() error { return run("detect", []string{f.source, f.metadata}, "") }
func (f directories) build(values string) error {
	return run("build", []string{f.source, f.metadata, f.output}, values)
}
func (f directories) releaseIt() error { return run("release", []string{f.output, f.release}, "") }

// released runs all three steps and returns the connection for the peer.
func released(t *testing.T, f directories, values string) map[string]any {
	t.Helper()
	for _, failed := range []error{f.detect(), f.build(values), f.releaseIt()} {
		if failed != nil {
			t.Fatal(failed)
		}
	}
	var connection map[string]any
	if err := json.Unmarshal([]byte(read(t, filepath.Join(f.release, "chaincode", "server", "connection.json"))), &connection); err != nil {
		t.Fatal(err)
	}
	return connection
}

func fails(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Fatalf("want an error with %q, got %v", part, err)
	}
}

func TestDetectionIgnoresTheCaseOfTheType(t *testing.T) {
	for _, kind := range []string{"ccaas", "CCAAS"} {
		if err := unpacked(t, kind, "").detect(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOtherPackageTypesAreRefused(t *testing.T) {
	f := unpacked(t, "golang", `{"address":"kv:9999"}`)
	fails(t, f.detect(), `the type is "golang"`)
	fails(t, f.build(""), `the type is "golang"`)
	write(t, filepath.Join(f.metadata, "metadata.json"), "{")
	fails(t, f.detect(), "metadata.json")
	if err := os.Remove(filepath.Join(f.metadata, "metadata.json")); err != nil {
		t.Fatal(err)
	}
	fails(t, f.detect(), "no such file")
}

func TestTheConnectionReachesThePeer(t *testing.T) {
	f := unpacked(t, "ccaas", `{"address":"kv:9999","dial_timeout":"10s","tls_required":false}`)
	want := map[string]any{"address": "kv:9999", "dial_timeout": "10s", "tls_required": false}
	if got := released(t, f, ""); !reflect.DeepEqual(got, want) {
		t.Fatalf("%v", got)
	}
	info, err := os.Stat(filepath.Join(f.release, "chaincode", "server", "connection.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
}

func TestValuesOfThePeerAreFilledIn(t *testing.T) {
	f := unpacked(t, "ccaas", `{"address":"{{.peername}}-kv:9999","dial_timeout":"10s","tls_required":true,"root_cert":"{{.root}}"}`)
	got := released(t, f, `{"peername":"org1-peer0","root":"-----BEGIN\nA<B>\n"}`)
	if got["address"] != "org1-peer0-kv:9999" || got["root_cert"] != "-----BEGIN\nA<B>\n" {
		t.Fatalf("%v", got)
	}
}

func TestAMissingValueIsAnError(t *testing.T) {
	for values, part := range map[string]string{`{"other":"x"}`: "address", "": "address", "{": valuesVariable} {
		fails(t, unpacked(t, "ccaas", `{"address":"{{.peername}}:9999"}`).build(values), part)
	}
}

func TestTlsFieldsAreOmittedWithoutTls(t *testing.T) {
	f := unpacked(t, "ccaas", `{"address":"kv:9999","client_auth_required":true,"client_key":"{{.none}}","client_cert":"c","root_cert":"r"}`)
	if got := released(t, f, ""); !reflect.DeepEqual(got, map[string]any{"address": "kv:9999"}) {
		t.Fatalf("%v", got)
	}
}

func TestAnEmptyDurationIsOmitted(t *testing.T) {
	f := unpacked(t, "ccaas", `{"address":"kv:9999","dial_timeout":""}`)
	if got := released(t, f, ""); !reflect.DeepEqual(got, map[string]any{"address": "kv:9999"}) {
		t.Fatalf("%v", got)
	}
}

func TestAConnectionWithAnAddressIsRequired(t *testing.T) {
	fails(t, unpacked(t, "ccaas", "").build(""), "no such file")
	fails(t, unpacked(t, "ccaas", `{"address":""}`).build(""), "no address")
	fails(t, unpacked(t, "ccaas", `null`).build(""), "no address")
	fails(t, unpacked(t, "ccaas", `[]`).build(""), "connection.json")
	fails(t, unpacked(t, "ccaas", "").releaseIt(), "no such file")
}

func TestIndexesOfTheStateDatabaseAreReleased(t *testing.T) {
	f := unpacked(t, "ccaas", `{"address":"kv:9999"}`)
	index := filepath.Join("couchdb", "indexes", "owner.json")
	write(t, filepath.Join(f.source, "META-INF", "statedb", index), `{"ddoc":"owner"}`)
	released(t, f, "")
	if got := read(t, filepath.Join(f.release, "statedb", index)); got != `{"ddoc":"owner"}` {
		t.Fatal(got)
	}
}

func TestOtherNamesAndArgumentsAreRefused(t *testing.T) {
	fails(t, run("run", []string{"a", "b"}, ""), "not run with 2 directories")
	fails(t, run("build", []string{"a"}, ""), "not build with 1 directories")
}
