# Everything that people and CI do with this repository. `make` alone lists it.

E2E_THREADS ?= 8
RELAY ?= console
CARGO ?= cargo
# The e2e tests make machines and need root; nothing else here does. What they mount is nobody else's, and gone with them.
ifneq ($(shell id -u),0)
AS_ROOT := sudo -E
SUDO := "sudo", "-E",
endif
RUN_AS_ROOT := --config 'target."cfg(unix)".runner = [$(SUDO) "unshare", "--mount"]'

# Where cargo builds, and where the e2e tests find it.
export KBMFA_TARGET ?= $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)

.DEFAULT_GOAL := help
.PHONY: help setup build test unit e2e test-matrix record-wire test-double sanitize demo soak bench bench-record bench-keybase \
	bench-wire bench-module bench-enrolment bench-fleet fuzz audit audit-advisories lint clean

help: ## lists these targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## prepares a Debian 12 host: packages, sshd 9.2 and a Debian 13 root in .cache
	tests/setup/setup.sh

# The module is built alone, so that no other crate's features get into it, and as nothing but a cdylib: beside an
# rlib it would be linked without link-time optimisation. The names of source files in it begin with the crate: where
# the builder keeps crates is no part of it, nor of its size.
CRATES := $(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src
build: ## builds the module as it ships, its test build, and kbmfa-host, kbmfa-server and kbmfa-enroll for the tests
	$(CARGO) fetch --locked --quiet
	$(CARGO) rustc --locked -p pam_kbmfa --profile module --lib --crate-type cdylib \
		--config "build.rustflags = [$$(printf '"--remap-path-prefix=%s=",' $(CRATES)/*)]"
	$(CARGO) build --locked -p pam_kbmfa --lib --features faults --target-dir $(KBMFA_TARGET)/faults
	$(CARGO) build --locked -p kbmfa-host
	$(CARGO) build --locked -p kbmfa-server
	$(CARGO) build --locked -p kbmfa-enroll
	$(CARGO) build --locked -p keybase-double

test: setup build unit e2e ## sets up, builds, and runs every test

# One selection for both runs: with another one cargo would choose other features, and compile everything again.
UNIT := --locked --workspace --exclude kbmfa-tests --all-features
unit: ## runs the tests that need neither root nor sshd, the server's on PostgreSQL as well
	$(CARGO) test $(UNIT)
	tests/setup/postgres.sh $(CARGO) test $(UNIT) --lib
	$(CARGO) test --locked -p kbmfa-tests --test tidy

e2e: ## runs the end-to-end tests with real sshd (after setup and build)
	$(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- --test-threads=$(E2E_THREADS) $(E2E_ARGS)

# Those that are not told on Debian 12 alone.
MATRIX := account:: auth:: session:: sessions:: versions::
test-matrix: ## runs the tests of each phase with OpenSSH 9.2, 10.0 and Debian 14's, for which it makes a root
	tests/setup/setup.sh matrix
	$(MAKE) build
	$(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- --test-threads=$(E2E_THREADS) \
		--include-ignored --show-output $(MATRIX)

# tests/e2e/compatibility.rs plays it to the versions after this one.
record-wire: setup build ## at a release: records the messages of this module and server in tests/recorded
	$(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- --ignored compatibility::record::

test-double: ## checks the double of keybase against Keybase's own libraries; needs python3, node and npm
	$(CARGO) build --locked -p keybase-double
	tests/keybase/prove/prove.sh

SOAK_SECONDS ?= 1800
soak: setup build ## honest logins among strangers and stalls for SOAK_SECONDS; then a flood, kills and faults at every moment of a login
	KBMFA_SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- --show-output soak::
	KBMFA_THOROUGH=1 $(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- --show-output faults::module
	KBMFA_THOROUGH=1 $(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- --show-output hostile::two_thousand
	KBMFA_KILLS=200 $(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- killed_at_random
	KBMFA_KILLS=100 KBMFA_FLEET=200 $(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- provision::fleet
	KBMFA_THOROUGH=1 $(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- provision::hostile

# AddressSanitizer is a nightly feature, which a stable compiler takes with RUSTC_BOOTSTRAP.
sanitize: ## runs logins through a real sshd with the module under valgrind and AddressSanitizer
	tests/setup/setup.sh sanitize
	$(MAKE) build
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address $(CARGO) build --locked -p pam_kbmfa --lib --features faults \
		--target $(shell uname -m)-unknown-linux-gnu --target-dir $(KBMFA_TARGET)/asan
	$(CARGO) test --locked $(RUN_AS_ROOT) -p kbmfa-tests --test e2e -- --include-ignored faults::module::sanitizers

demo: setup build ## shows an approved login, a denied one, and the audit log; RELAY=keybase asks there; HOLD=1 keeps it running
	$(CARGO) build --locked -p kbmfa-tests --bin demo
	RELAY=$(RELAY) $(AS_ROOT) tests/demo/demo.sh

# All of it with the server and the module as they ship. Each part prints its figures, and judges nothing.
bench: setup build bench-record bench-keybase bench-wire bench-module bench-enrolment bench-fleet ## runs all of the following benchmarks

bench-record: ## an audit log of a million events (BENCH_ARGS=N)
	$(CARGO) run --locked -p kbmfa-server --release --example bench -- $(BENCH_ARGS)

bench-keybase: ## logins approved in Keybase (BENCH_LOGINS=N), beside the old tool; after setup and build
	tests/bench/old/setup.sh
	$(CARGO) build --locked -p kbmfa-server --release --bin kbmfa-server
	$(CARGO) build --locked -p keybase-double --release
	KBMFA_PROFILE=release $(CARGO) run --locked $(RUN_AS_ROOT) -p kbmfa-tests --bin bench-keybase -- $(BENCH_LOGINS)

bench-wire: ## logins per second, and ten thousand held polls (WIRE_ARGS='SECONDS POLLS'), beside their lower bounds
	$(CARGO) build --locked -p kbmfa-server --release --bin kbmfa-server
	$(CARGO) run --locked -p kbmfa-server --release --example wire -- $(WIRE_ARGS)

bench-module: ## the module in a new process, the time of answers, the cost of a login (BENCH_LOGINS=N); after setup and build
	$(CARGO) build --locked -p kbmfa-server --release --bin kbmfa-server
	KBMFA_PROFILE=release $(CARGO) run --locked $(RUN_AS_ROOT) -p kbmfa-tests --bin bench-module -- $(BENCH_LOGINS)

bench-enrolment: ## whether the time of a refusal tells what is wrong with an invite (BENCH_SECONDS=N); after setup and build
	$(CARGO) build --locked -p kbmfa-server --release --bin kbmfa-server
	KBMFA_PROFILE=release $(CARGO) run --locked $(RUN_AS_ROOT) -p kbmfa-tests --bin bench-enrolment -- $(BENCH_SECONDS)

bench-fleet: ## check-ups, changes and revocations on a hundred machines (BENCH_MACHINES=N), beside Ansible; after setup and build
	tests/bench/ansible/setup.sh
	$(CARGO) build --locked -p kbmfa-server --release --bin kbmfa-server
	KBMFA_PROFILE=release $(CARGO) run --locked $(RUN_AS_ROOT) -p kbmfa-tests --bin bench-fleet -- $(BENCH_MACHINES)

FUZZ_SECONDS ?= 60
fuzz: ## runs libFuzzer on each parser (FUZZ_TARGET=one) for FUZZ_SECONDS; installs cargo-fuzz into .cache
	tests/fuzz/fuzz.sh $(FUZZ_SECONDS) $(FUZZ_TARGET)

# Takes minutes to build, so `make lint` does without.
CARGO_DENY := .cache/cargo-deny/bin/cargo-deny
$(CARGO_DENY):
	$(CARGO) install --locked --quiet --root .cache/cargo-deny cargo-deny

# What is known about vulnerabilities changes without a change here and has to be fetched, so it is a target of its own.
audit: $(CARGO_DENY) ## checks every dependency against deny.toml: licences, bans, sources; not vulnerabilities
	$(CARGO_DENY) --locked check --hide-inclusion-graph licenses bans sources

audit-advisories: $(CARGO_DENY) ## looks every dependency up in RustSec's advisories; fails if they cannot be fetched
	@$(CARGO_DENY) --locked check advisories || { echo 'make: the advisories were NOT all found in order, see above' >&2; exit 1; }

lint: ## formatting, clippy and docs; every warning is an error
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	$(CARGO) clippy --locked -p pam_kbmfa --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --all-features --no-deps --document-private-items

clean: ## removes build output, and keeps what setup made
	$(CARGO) clean
