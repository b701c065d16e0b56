package main

import (
	"fmt"

	"github.com/hyperledger/fabric-chaincode-go/shim"
	"github.com/hyperledger/fabric-protos-go/peer"
)

// ledger is a key-value store of strings.
type ledger struct{}

// Init does nothing.
func (ledger) Init(shim.ChaincodeStubInterface) peer.Response { return shim.Success(nil) }

// Invoke handles `put KEY VALUE`, which returns nothing, and `get KEY`, which returns the value or fails
// without one.
func (ledger) Invoke(stub shim.ChaincodeStubInterface) peer.Response {
	function, arguments := stub.GetFunctionAndParameters()
	switch {
	case function == "put" && len(arguments) == 2:
		if err := stub.PutState(arguments[0], []byte(arguments[1])); err != nil {
			return shim.Error(err.Error())
		}
		return shim.Success(nil)
	case function == "get" && len(arguments) == 1:
		value, err := stub.GetState(arguments[0])
		if err != nil {
			return shim.Error(err.Error())
		}
		if value == nil {
			return shim.Error(fmt.Sprintf("no value under %q", arguments[0]))
		}
		return shim.Success(value)
	}
	return shim.Error(fmt.Sprintf("use put KEY VALUE or get KEY; not %q with %d arguments", function, len(arguments)))
}
