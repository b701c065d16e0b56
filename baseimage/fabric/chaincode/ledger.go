package main

import (
	"fmt"

	"github.com/hyperledger/fabric-chaincode-go/shim"
	"github.com/hyperledger/fabric-protos-go/peer"
)

// ledger keeps texts under keys.
type ledger struct{}

// Init has nothing to prepare.
func (ledger) Init(shim.ChaincodeStubInterface) peer.Response { return shim.Success(nil) }

// Invoke is `put KEY VALUE`, which answers nothing, or `get KEY`, which answers the value and fails where there is none.
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
			return shim.Error(fmt.Sprintf("there is no value under %q", arguments[0]))
		}
		return shim.Success(value)
	}
	return shim.Error(fmt.Sprintf("put KEY VALUE or get KEY; not %q with %d arguments", function, len(arguments)))
}
