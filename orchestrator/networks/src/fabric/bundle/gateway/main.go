// Submits a transaction through the gateway of an organisation's peer, with the files of the bundle.
//
//	go run .                                          commits through the first organisation, reads through the last
//	go run . ORGANISATION submit FUNCTION [ARGUMENT…]
//	go run . ORGANISATION evaluate FUNCTION [ARGUMENT…]
package main

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	protos "github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

const bundle = "../.."

type network struct {
	Channel       string
	Chaincode     string
	Organisations []string
	CommitSeconds int
}

type profile struct {
	Organizations map[string]struct {
		MspID string
		Peers []string
	}
	Peers map[string]struct {
		URL        string
		TLSCACerts struct{ Pem string }
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		// The messages of the peers and orderers.
		for _, detail := range status.Convert(err).Details() {
			if said, ok := detail.(*protos.ErrorDetail); ok {
				fmt.Fprintf(os.Stderr, "%s (%s): %s\n", said.GetAddress(), said.GetMspId(), said.GetMessage())
			}
		}
		os.Exit(1)
	}
}

func run(given []string) error {
	var net network
	if err := read("network.json", &net); err != nil {
		return err
	}
	first, last := net.Organisations[0], net.Organisations[len(net.Organisations)-1]
	switch {
	case net.Chaincode == "":
		return withGateway(net, first, func(gateway *client.Gateway) error {
			info, err := gateway.GetNetwork(net.Channel).GetContract("qscc").EvaluateTransaction("GetChainInfo", net.Channel)
			fmt.Printf("no chaincode is deployed; %s answers for channel %s with %d bytes of chain info\n", first, net.Channel, len(info))
			return err
		})
	case len(given) >= 3:
		return transact(net, given[0], given[1], given[2], given[3:]...)
	case len(given) > 0:
		return fmt.Errorf("say: ORGANISATION submit|evaluate FUNCTION [ARGUMENT…]")
	}
	if err := transact(net, first, "submit", "put", "name", "satoshi"); err != nil {
		return err
	}
	return transact(net, last, "evaluate", "get", "name")
}

func transact(net network, organisation, verb, name string, args ...string) error {
	return withGateway(net, organisation, func(gateway *client.Gateway) error {
		contract := gateway.GetNetwork(net.Channel).GetContract(net.Chaincode)
		do := contract.EvaluateTransaction
		if verb == "submit" {
			do = contract.SubmitTransaction
		} else if verb != "evaluate" {
			return fmt.Errorf("say submit or evaluate, not %s", verb)
		}
		answer, err := do(name, args...)
		if err == nil {
			fmt.Printf("%s %s %s: %s\n", organisation, verb, strings.Join(append([]string{name}, args...), " "), answer)
		}
		return err
	})
}

// withGateway runs use with a gateway that signs as the organisation's user.
func withGateway(net network, organisation string, use func(*client.Gateway) error) error {
	var known profile
	if err := read(organisation+"/connection.json", &known); err != nil {
		return err
	}
	member := known.Organizations[organisation]
	peer := known.Peers[member.Peers[0]]
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(peer.TLSCACerts.Pem))
	connection, err := grpc.Dial(strings.TrimPrefix(peer.URL, "grpcs://"), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "")))
	if err != nil {
		return err
	}
	defer connection.Close()
	id, sign, err := user(organisation, member.MspID)
	if err != nil {
		return err
	}
	// An accepted transaction may still be lost when the orderers elect another leader. The timeout ends the wait.
	gateway, err := client.Connect(id, client.WithSign(sign), client.WithClientConnection(connection),
		client.WithEvaluateTimeout(5*time.Second), client.WithEndorseTimeout(15*time.Second), client.WithSubmitTimeout(5*time.Second),
		client.WithCommitStatusTimeout(time.Duration(net.CommitSeconds)*time.Second))
	if err != nil {
		return err
	}
	defer gateway.Close()
	return use(gateway)
}

// The organisation's user, or the identity in the variable IDENTITY.
func user(organisation, msp string) (*identity.X509Identity, identity.Sign, error) {
	who := os.Getenv("IDENTITY")
	if who == "" {
		who = "user"
	}
	folder := filepath.Join(bundle, organisation, who, "msp")
	pem, err := os.ReadFile(filepath.Join(folder, "signcerts", "cert.pem"))
	if err != nil {
		return nil, nil, err
	}
	certificate, err := identity.CertificateFromPEM(pem)
	if err != nil {
		return nil, nil, err
	}
	id, err := identity.NewX509Identity(msp, certificate)
	if err != nil {
		return nil, nil, err
	}
	pem, err = os.ReadFile(filepath.Join(folder, "keystore", "key.pem"))
	if err != nil {
		return nil, nil, err
	}
	key, err := identity.PrivateKeyFromPEM(pem)
	if err != nil {
		return nil, nil, err
	}
	sign, err := identity.NewPrivateKeySign(key)
	return id, sign, err
}

func read(path string, into any) error {
	text, err := os.ReadFile(filepath.Join(bundle, path))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
