# Every target is one script; `make help` lists them. CI calls these targets and nothing else.
.DEFAULT_GOAL := help
.PHONY: help run down test test-full test-platforms lint bench docker docker-baseimage docker-chainpool docker-cometbft docker-fabric-ca docker-fabric-chaincode docker-fabric-orderer docker-fabric-peer docker-tools testbed-swarm testbed-swarm-down install setup setup-test engine engine-stop clean testbed-kubernetes testbed-kubernetes-down

# Variables given to make reach the scripts by the environment.
export DATA LISTEN CAPACITY BACKGROUND REGISTRY HOST IMAGES FORCE PARTS

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{ printf "  make %-24s %s\n", $$1, $$2 }'

run: ## set up what is missing, then serve a pool of real ledgers (DATA= LISTEN= CAPACITY= BACKGROUND=1)
	@scripts/server.sh run

down: ## stop the server that make run started; the networks go on (DATA=)
	@scripts/server.sh down

test: ## set up what the tests need, then run what every change must pass
	@scripts/test.sh

test-full: ## everything else as well: sweeps, faults, platforms (PARTS="faults sweeps", BACKGROUND=1)
	@scripts/test-full.sh

test-platforms: ## the tests on real platforms of several machines (PLATFORMS="swarm kubernetes")
	@scripts/test-platforms.sh $(PLATFORMS)

lint: ## format, clippy and documentation without a warning
	@scripts/lint.sh

bench: ## measure speed and size: a table and JSON
	@scripts/bench.sh

docker: docker-baseimage docker-tools docker-cometbft docker-fabric-orderer docker-fabric-peer docker-fabric-ca docker-fabric-chaincode docker-chainpool ## make all images; nothing is pulled (FORCE=1: again)

docker-baseimage: engine ## make chainpool-baseimage: a minimal Debian with our init and probe
	@scripts/image.sh base

docker-chainpool: engine ## make chainpool, the product's image, from chainpool-baseimage
	@scripts/image.sh chainpool

docker-cometbft: engine ## make chainpool/cometbft, the node image, from its Go module
	@scripts/image.sh cometbft

docker-fabric-ca: engine ## make chainpool/fabric-ca, the certificate authority's image, from its Go module
	@scripts/image.sh fabric-ca

docker-fabric-chaincode: engine ## make chainpool/fabric-chaincode, a small key-value chaincode for tests and first tries
	@scripts/image.sh fabric-chaincode

docker-fabric-orderer: engine ## make chainpool/fabric-orderer, the node image, from Fabric's Go module
	@scripts/image.sh fabric-orderer

docker-fabric-peer: engine ## make chainpool/fabric-peer, the node image, from Fabric's Go module
	@scripts/image.sh fabric-peer

docker-tools: engine ## make chainpool/tools, which places files on the machines of a swarm or Kubernetes
	@scripts/image.sh tools

testbed-swarm: ## start three engines on this machine, joined in one swarm
	@tests/testbeds/swarm.sh up

testbed-swarm-down: ## stop them and remove every trace
	@tests/testbeds/swarm.sh down

install: ## make all images, then push them (REGISTRY=) or load them into an engine (HOST=)
	@scripts/install.sh

setup: ## install what make run needs and is missing
	@scripts/setup.sh run

setup-test: ## install what make test needs and is missing
	@scripts/setup.sh test

engine: ## start the Docker engine where none answers
	@scripts/setup.sh run
	@scripts/engine.sh start

engine-stop: ## stop the Docker engine, if it was started here
	@scripts/engine.sh stop

testbed-kubernetes: ## start a real Kubernetes cluster on this machine for tests; prints its kubeconfig
	@scripts/setup.sh kubernetes
	@tests/testbeds/kubernetes.sh up

testbed-kubernetes-down: ## stop it and remove every trace
	@tests/testbeds/kubernetes.sh down

clean: ## remove what was built in this checkout; data and images stay
	@scripts/clean.sh
