# QuickPass. `make` lists what can be done; every target does its own set-up.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

BIN := bin

# The race detector doubles the time of the tests; `make test RACE=` goes without.
RACE ?= -race
TEST_TIMEOUT ?= 12m
PACKAGES ?= ./...
GOTESTSUM := bin/gotestsum --format pkgname --format-hide-empty-pkg --

SQLC_CONFIG := internal/postgres/sqlc.yaml
OPENAPI := api/openapi.yaml
OPENAPI_CONFIG := api/oapi-codegen.yaml
OPENAPI_CODE := api/openapi.gen.go
PROTO := internal/events/eventpb/event.proto
PROTO_CODE := $(PROTO:.proto=.pb.go)

GO_TOOLS := $(addprefix $(BIN)/,sqlc oapi-codegen protogen workflowcheck gotestsum golangci-lint)
TEMPORAL := $(BIN)/temporal-server

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

##### Build

.PHONY: build
build: ## build bin/quickpass and bin/fakeproduct
	@# Always asked of Go, which knows best what is current; it takes a second when nothing changed.
	@mkdir -p $(BIN)
	@go build -o $(BIN)/ ./cmd/quickpass ./cmd/fakeproduct

.PHONY: teststack
teststack:
	@mkdir -p $(BIN)
	@go build -o $(BIN)/ ./cmd/teststack

.PHONY: tools
tools: $(GO_TOOLS) $(TEMPORAL) ## build the Temporal server, the generators and the linters into bin/

# The versions are those of tools/go.mod, apart from the product's own.
$(BIN)/sqlc: PACKAGE := github.com/sqlc-dev/sqlc/cmd/sqlc
$(BIN)/sqlc: NOTE := about a minute
$(BIN)/oapi-codegen: PACKAGE := github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen
$(BIN)/protogen: PACKAGE := ./protogen
$(BIN)/protogen: tools/protogen/main.go
$(BIN)/workflowcheck: PACKAGE := go.temporal.io/sdk/contrib/tools/workflowcheck
$(BIN)/gotestsum: PACKAGE := gotest.tools/gotestsum
$(BIN)/golangci-lint: PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(BIN)/golangci-lint: NOTE := about two minutes

$(BIN)/sqlc: | compiler # it contains PostgreSQL's own parser, which is C

$(GO_TOOLS): tools/go.mod tools/go.sum
	@echo "building $(@F)$(if $(NOTE), ($(NOTE) the first time))"
	@mkdir -p $(BIN)
	@go -C tools build -o $(abspath $@) $(PACKAGE)
	@touch $@ # Go leaves a program that is current as it is, and make would ask again

$(TEMPORAL): tools/temporal/go.mod tools/temporal/go.sum $(wildcard tools/temporal/*.go)
	@echo "building the Temporal server, about 5 minutes the first time; later starts take seconds"
	@mkdir -p $(BIN)
	@go -C tools/temporal build -ldflags='-s -w' -o $(abspath $@) .
	@touch $@
	@echo "the Temporal server is built"

# Packages of the system that Go cannot fetch. Installed when that is possible without asking.
.PHONY: compiler
compiler:
	@tools/need.sh cc gcc libc6-dev

##### Run

.PHONY: run
run: build $(TEMPORAL) ## start everything on this machine: quickpass dev
	@exec $(BIN)/quickpass dev

##### Check

.PHONY: check
check: $(GO_TOOLS) ## format, vet, lint, generated code, determinism, modules
	@echo "format"; unformatted=$$(gofmt -l .); \
		if [ -n "$$unformatted" ]; then printf 'not formatted (run gofmt -w):\n%s\n' "$$unformatted"; exit 1; fi
	@echo "vet"; go vet ./...
	@echo "lint"; $(BIN)/golangci-lint run
	@echo "generated code"; \
		$(BIN)/sqlc diff -f $(SQLC_CONFIG) || { echo "SQL code is not current; run make generate"; exit 1; }; \
		before=$$(mktemp); trap 'rm -f "$$before"' EXIT; cp $(OPENAPI_CODE) "$$before"; \
		$(BIN)/oapi-codegen -config $(OPENAPI_CONFIG) $(OPENAPI); \
		diff -u "$$before" $(OPENAPI_CODE) || { echo "API code was not current; it is now"; exit 1; }; \
		cp $(PROTO_CODE) "$$before"; $(BIN)/protogen $(PROTO); \
		diff -u "$$before" $(PROTO_CODE) || { echo "protobuf code was not current; it is now"; exit 1; }
	@echo "determinism of workflows"; $(BIN)/workflowcheck ./workflows/...
	@echo "modules"; for module in . tools tools/temporal; do go -C $$module mod tidy -diff; done

.PHONY: generate
generate: $(BIN)/sqlc $(BIN)/oapi-codegen $(BIN)/protogen ## write the code that comes from SQL, openapi.yaml and event.proto
	$(BIN)/sqlc generate -f $(SQLC_CONFIG)
	$(BIN)/oapi-codegen -config $(OPENAPI_CONFIG) $(OPENAPI)
	$(BIN)/protogen $(PROTO)

##### Test

.PHONY: test
test: build teststack $(BIN)/gotestsum $(TEMPORAL) | compiler ## run every test against a real PostgreSQL, Temporal and RabbitMQ of its own
	@# The whole-system tests run alone and few at a time: a Temporal that is starved for seconds loses attempts, and they
	@# count them. What they start are the programs of bin/, which the race detector would not see into anyway.
	@$(BIN)/teststack -- $(GOTESTSUM) $(RACE) -timeout $(TEST_TIMEOUT) $$(go list $(PACKAGES) | grep -v '/e2e$$')
	@$(BIN)/teststack -- $(GOTESTSUM) -parallel 4 -timeout $(TEST_TIMEOUT) ./e2e

.PHONY: chaos
chaos: build $(TEMPORAL) ## kill everything in turn under load, then verify the books
	@go run ./chaos

.PHONY: bench
bench: build $(TEMPORAL) ## measure, print one table, write docs/bench.md
	@go run ./bench

.PHONY: clean
clean: ## remove what was built; the state of `make run` in .quickpass stays
	@rm -rf $(BIN)
