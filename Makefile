# Each target runs one script; `make help` lists them. CI runs only these targets.
.DEFAULT_GOAL := help
.PHONY: help run down test test-full test-platforms lint bench docker docker-baseimage docker-chainpool docker-cometbft docker-fabric-ca docker-fabric-chaincode docker-fabric-orderer docker-fabric-peer docker-tools testbed-swarm testbed-swarm-down install setup setup-test engine engine-stop clean testbed-kubernetes testbed-kubernetes-down

# Make variables are passed to the scripts as environment variables.
export DATA LISTEN CAPACITY BACKGROUND REGISTRY HOST IMAGES FORCE PARTS

help: ## list targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "  make %-24s %s\n", $$1, $$2 }'

run: ## install missing dependencies and start a server with a pool of clusters (DATA= LISTEN= CAPACITY= BACKGROUND=1)
	@scripts/server.sh run

down: ## stop the server started by make run; clusters keep running (DATA=)
	@scripts/server.sh down

test: ## install test dependencies and run the tests required for every change
	@scripts/test.sh

test-full: ## run all tests, including sweeps, faults and platforms (PARTS="faults sweeps", BACKGROUND=1)
	@scripts/test-full.sh

test-platforms: ## run the tests on real multi-machine platforms (PLATFORMS="swarm kubernetes")
	@scripts/test-platforms.sh $(PLATFORMS)

lint: ## check format, clippy and documentation; warnings are errors
	@scripts/lint.sh

bench: ## measure speed and size; prints a table and writes JSON
	@scripts/bench.sh

docker: docker-baseimage docker-tools docker-cometbft docker-fabric-orderer docker-fabric-peer docker-fabric-ca docker-fabric-chaincode docker-chainpool ## build all images without pulling (FORCE=1 rebuilds)

docker-baseimage: engine ## build chainpool-baseimage, a minimal Debian with our init and probe
	@scripts/image.sh base

docker-chainpool: engine ## build chainpool, the product image, from chainpool-baseimage
	@scripts/image.sh chainpool

docker-cometbft: engine ## build the node image chainpool/cometbft from its Go module
	@scripts/image.sh cometbft

docker-fabric-ca: engine ## build the certificate authority image chainpool/fabric-ca from its Go module
	@scripts/image.sh fabric-ca

docker-fabric-chaincode: engine ## build chainpool/fabric-chaincode, a key-value chaincode for tests and experiments
	@scripts/image.sh fabric-chaincode

docker-fabric-orderer: engine ## build the node image chainpool/fabric-orderer from Fabric's Go module
	@scripts/image.sh fabric-orderer

docker-fabric-peer: engine ## build the node image chainpool/fabric-peer from Fabric's Go module
	@scripts/image.sh fabric-peer

docker-tools: engine ## build chainpool/tools, which places files on machines of a swarm or Kubernetes cluster
	@scripts/image.sh tools

testbed-swarm: ## start a swarm of three engines on this machine
	@tests/testbeds/swarm.sh up

testbed-swarm-down: ## stop the test swarm and remove all its data
	@tests/testbeds/swarm.sh down

install: ## build all images and push them (REGISTRY=) or load them into an engine (HOST=)
	@scripts/install.sh

setup: ## install missing dependencies of make run
	@scripts/setup.sh run

setup-test: ## install missing dependencies of make test
	@scripts/setup.sh test

engine: ## start the Docker engine if none responds
	@scripts/setup.sh run
	@scripts/engine.sh start

engine-stop: ## stop the Docker engine if it was started here
	@scripts/engine.sh stop

testbed-kubernetes: ## start a Kubernetes cluster on this machine for tests; prints its kubeconfig
	@scripts/setup.sh kubernetes
	@tests/testbeds/kubernetes.sh up

testbed-kubernetes-down: ## stop the test Kubernetes cluster and remove all its data
	@tests/testbeds/kubernetes.sh down

clean: ## remove build output of this checkout; keeps data and images
	@scripts/clean.sh
