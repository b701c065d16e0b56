package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/shim"
	"github.com/hyperledger/fabric-chaincode-go/shimtest"
	"github.com/hyperledger/fabric-protos-go/peer"
)

func invoke(stub *shimtest.MockStub, arguments ...string) peer.Response {
	raw := make([][]byte, len(arguments))
	for i, argument := range arguments {
		raw[i] = []byte(argument)
	}
	return stub.MockInvoke("tx", raw)
}

func TestAValueIsReadBack(t *testing.T) {
	stub := shimtest.NewMockStub("kv", ledger{})
	if response := stub.MockInit("tx", nil); response.Status != shim.OK {
		t.Fatal(response.Message)
	}
	if response := invoke(stub, "put", "name", "satoshi"); response.Status != shim.OK {
		t.Fatal(response.Message)
	}
	if response := invoke(stub, "get", "name"); response.Status != shim.OK || string(response.Payload) != "satoshi" {
		t.Fatalf("%d %s", response.Status, response.Payload)
	}
}

func TestInvalidInvocationsReportTheReason(t *testing.T) {
	stub := shimtest.NewMockStub("kv", ledger{})
	for _, c := range []struct{ arguments, message string }{
		{"get name", `no value under "name"`},
		{"put name", `not "put" with 1 arguments`},
		{"drop name", `not "drop" with 1 arguments`},
	} {
		response := invoke(stub, strings.Fields(c.arguments)...)
		if response.Status == shim.OK || !strings.Contains(response.Message, c.message) {
			t.Fatalf("%s: %d %s", c.arguments, response.Status, response.Message)
		}
	}
}

// settings reads variables from a map, and files that contain their own path.
func settings(variables map[string]string) (*shim.ChaincodeServer, error) {
	return serverFrom(func(name string) string { return variables[name] }, func(path string) ([]byte, error) {
		if path == "/absent" {
			return nil, errors.New("absent")
		}
		return []byte(path), nil
	})
}

func TestTlsIsOffWithoutPaths(t *testing.T) {
	server, err := settings(map[string]string{"CHAINCODE_ID": "kv:1", "CHAINCODE_SERVER_ADDRESS": "0.0.0.0:9999"})
	if err != nil || !server.TLSProps.Disabled || server.CCID != "kv:1" || server.Address != "0.0.0.0:9999" {
		t.Fatalf("%+v %v", server, err)
	}
}

func TestPathsOfKeysEnableTls(t *testing.T) {
	server, err := settings(map[string]string{
		"CHAINCODE_ID": "kv:1", "CHAINCODE_SERVER_ADDRESS": ":1",
		"CHAINCODE_TLS_KEY": "/key", "CHAINCODE_TLS_CERT": "/cert", "CHAINCODE_TLS_CLIENT_CA": "/ca",
	})
	if err != nil {
		t.Fatal(err)
	}
	tls := server.TLSProps
	if tls.Disabled || string(tls.Key) != "/key" || string(tls.Cert) != "/cert" || string(tls.ClientCACerts) != "/ca" {
		t.Fatalf("%+v", tls)
	}
}

func TestInconsistentSettingsAreRefused(t *testing.T) {
	for part, variables := range map[string]map[string]string{
		"CHAINCODE_ID":             {"CHAINCODE_SERVER_ADDRESS": ":1"},
		"CHAINCODE_SERVER_ADDRESS": {"CHAINCODE_ID": "kv:1"},
		"or neither":               {"CHAINCODE_ID": "kv:1", "CHAINCODE_SERVER_ADDRESS": ":1", "CHAINCODE_TLS_KEY": "/key"},
		"needs CHAINCODE_TLS_KEY":  {"CHAINCODE_ID": "kv:1", "CHAINCODE_SERVER_ADDRESS": ":1", "CHAINCODE_TLS_CLIENT_CA": "/ca"},
		"CHAINCODE_TLS_CERT":       {"CHAINCODE_ID": "kv:1", "CHAINCODE_SERVER_ADDRESS": ":1", "CHAINCODE_TLS_CERT": "/absent"},
	} {
		if _, err := settings(variables); err == nil || !strings.Contains(err.Error(), part) {
			t.Fatalf("%s: %v", part, err)
		}
	}
}
