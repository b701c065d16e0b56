// A key-value chaincode that runs as a service, for tests and experiments.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/hyperledger/fabric-chaincode-go/shim"
)

func main() {
	server, err := serverFrom(os.Getenv, os.ReadFile)
	if err != nil {
		log.Fatal(err)
	}
	// Without a handler, process 1 of a container ignores SIGTERM.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	failed := make(chan error, 1)
	go func() { failed <- server.Start() }()
	log.Printf("chaincode %s: serving on %s, TLS %t", server.CCID, server.Address, !server.TLSProps.Disabled)
	select {
	case err := <-failed:
		log.Fatalf("chaincode: %v", err)
	case <-stop:
	}
}

// serverFrom reads the settings: CHAINCODE_ID, CHAINCODE_SERVER_ADDRESS, and for TLS the paths
// CHAINCODE_TLS_KEY, CHAINCODE_TLS_CERT and, if peers need a certificate, CHAINCODE_TLS_CLIENT_CA.
func serverFrom(variable func(string) string, file func(string) ([]byte, error)) (*shim.ChaincodeServer, error) {
	server := &shim.ChaincodeServer{CCID: variable("CHAINCODE_ID"), Address: variable("CHAINCODE_SERVER_ADDRESS"), CC: ledger{}}
	if server.CCID == "" {
		return nil, errors.New("set CHAINCODE_ID to the package id that the peer returned at installation")
	}
	if server.Address == "" {
		return nil, errors.New("set CHAINCODE_SERVER_ADDRESS to the listen address, such as 0.0.0.0:9999")
	}
	tls := &server.TLSProps
	for name, content := range map[string]*[]byte{
		"CHAINCODE_TLS_KEY": &tls.Key, "CHAINCODE_TLS_CERT": &tls.Cert, "CHAINCODE_TLS_CLIENT_CA": &tls.ClientCACerts,
	} {
		path := variable(name)
		if path == "" {
			continue
		}
		read, err := file(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		*content = read
	}
	tls.Disabled = tls.Key == nil && tls.Cert == nil
	if !tls.Disabled && (tls.Key == nil || tls.Cert == nil) {
		return nil, errors.New("set both CHAINCODE_TLS_KEY and CHAINCODE_TLS_CERT, or neither")
	}
	if tls.Disabled && tls.ClientCACerts != nil {
		return nil, errors.New("CHAINCODE_TLS_CLIENT_CA needs CHAINCODE_TLS_KEY and CHAINCODE_TLS_CERT")
	}
	return server, nil
}
