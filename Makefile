# SPDX-License-Identifier: GPL-2.0
#
# Everything happens in a build root that vm/setup creates in the cache; the module itself is built by kbuild,
# from Kbuild. Variables:
#   KERNEL=7.3.4+deb13-amd64  this Debian kernel instead of the newest  MIRROR=URL  this Debian mirror
#   KDIR=/path/to/linux       `make modules` against that kernel tree, without a build root
#   ARCH=arm64                for arm64 (run, shell, sample, modules, test, deb): Debian's kernel, in QEMU; what is built is in build/arm64
#   FLAVOUR=arm64-16k         this one of Debian's kernels: arm64-16k, rt-arm64, cloud-arm64; rt-amd64, cloud-amd64; or one of any suite (docs/kernels.md)
#   SMMU=no                   `make run ARCH=arm64` without an IOMMU
#   T=name                    this test only                            M=name      this seeded bug only
#   UNTIL=SECONDS             no test begins after this time (`date +%s`); those left are skipped
#   S=name                    this sample                           K=7.3-*     these kernels, for test-kernels
#   V=1                       print all commands

.DEFAULT_GOAL := help
export KERNEL MIRROR KDIR V ARCH FLAVOUR

quiet = $(if $(V),,--silent)
silent := $(if $(findstring s,$(firstword -$(MAKEFLAGS))),--silent) # for those that do not get MAKEFLAGS

arm64 := $(filter arm64,$(ARCH))
output := build$(if $(arm64),/arm64)

# The memory of arm64 guests begins at 1 GiB, which 28 address bits do not reach without an IOMMU.
no_smmu := $(if $(arm64),$(filter no,$(SMMU)))
tour_guest := $(if $(no_smmu),--no-iommu --edu-opts dma_mask=0xffffffff)
tour := $(if $(no_smmu),env RDMA_PARAMETERS=dma_bits=32) samples/tour

run_tests = vm/enter tests/run $(UNTIL:%=--until %)

# Additional kernels, created the first time, and the module for each.
kernels = vm/setup $(1) && for kernel in $(1); do vm/modules --kernel $$kernel || exit; done

help: ## print this list
	@echo "Targets (variables are documented at the top of the Makefile):"
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1 \t/p' Makefile | expand -t 24

deb: setup ## build the Debian packages, into build/deb
	@packaging/build-deb

docs: modules tools ## build the documentation as a site, build/docs/index.html
	@vm/enter --build docs/site/build build/docs
	@echo "build/docs/index.html"

release: setup ## make the files of a release from the current commit, into build/release: source, crate, wheel, Debian packages
	@packaging/release

run: modules samples-c ## boot Debian's kernel, load the driver, transfer data to the device and back
	@vm/boot $(tour_guest) -- $(tour)

sample: $(if $(and $(S),$(wildcard samples/$(S)/run)),modules samples) $(if $(shell grep -s '^# guest:.*--ioat' samples/$(S)/run),ioat) ## run an application of mapping and DMA in the guest; S=name: see samples/README.md
	@samples/boot $(S)

test: modules samples tests-built deb ## run the tests; T=name runs one, T=g01 those of a promise
	@$(run_tests) $(T)

test-arm64: ## run the tour and the memory tests on arm64
	@$(MAKE) --no-print-directory ARCH=arm64 modules samples-c tests-c
	@ARCH=arm64 $(run_tests) '*@arm64'

test-debug: modules samples tests-built ## run the tests on the sanitizer kernel (built the first time, 8 minutes); T=name
	@$(call kernels,debug)
	@$(run_tests) --lane debug $(T)

test-race: modules samples tests-built ## run the tests for races, on three kernels (40 minutes); T=name
	@$(call kernels,debug kcsan rt)
	@$(run_tests) --lane race $(T)

test-kernels: setup ## build, load and test the driver on each kernel of Debian's suites, and write docs/kernels.md; K=release for some
	@tests/kernels/run $(K:%='%')

test-long: modules samples tests-built ## run the tests that can run for hours, for hours; T=name
	@$(call kernels,debug kcsan rt)
	@$(run_tests) --lane long $(T)

upstream: setup ## build the sanitizer kernel with the patches of upstream/, and run their tests (15 minutes the first time); T=name
	@vm/setup upstream
	@vm/enter --build make $(quiet) -C upstream
	@vm/enter tests/run --lane upstream $(T)

guarantees: modules samples tests-built ## run all tests of promises, and write docs/guarantees.md
	@$(call kernels,debug kcsan rt)
	@for lane in test debug race; do vm/enter tests/run --rows --lane $$lane; done; vm/enter tests/harness/guarantees --write

mutants: modules samples tests-built ## break the driver on purpose, and check that the tests find it; M=name for one
	@tests/mutants/run $(M)

fuzz: modules samples tests-built ## fuzz the system calls; SEED=1 CALLS=10000000, FUZZ_KERNEL=debug, GROW=300 (seconds) for the corpus
	@$(if $(FUZZ_KERNEL),$(call kernels,$(FUZZ_KERNEL)))
	@vm/enter tests/fuzz/run $(FUZZ_KERNEL:%=--kernel %) $(SEED:%=--seed %) $(CALLS:%=--calls %) $(GROW:%=--grow %)

bench: modules ## measure the cost of requests and mappings, in instructions; after `make ioat`, of an I/OAT engine, too; T=part
	@vm/enter --build make $(quiet) -C tests bench $(if $(wildcard build/ioat/model),ioat)
	@vm/enter tests/bench/run $(T)

modules: setup ## build build/RELEASE/rdma.ko; with KDIR=, for that kernel tree
	@vm/modules $(silent)

shell: modules samples tools ## boot the guest to a prompt, with the driver loaded
	@vm/boot --tty -- vm/guest/shell

check: setup ## check formatting, clippy, shellcheck, spelling and style
	@for crates in tests/fuzz user samples vm/ioat; do (cd $$crates && "$(CURDIR)/vm/cargo" fetch --quiet) || exit; done
	@vm/enter vm/check
	@tests/python/versions

rust-analyzer: setup ## write rust-project.json, for editors with rust-analyzer
	@vm/rust-analyzer

clean: ## remove built files
	rm -rf build rust-project.json rust-project.json.part user/target user/python/build user/python/src/*.egg-info user/python/*.egg-info

distclean: clean ## remove the cache with the build root, too
	@vm/distclean

setup: ## create the build root; the other targets do this automatically
	@$(if $(KDIR),:,vm/setup)

# Of these, what the guest's prompt and the samples need.
tools: setup
	@cd user && ../vm/cargo fetch --quiet
	@vm/enter --build make $(quiet) -C user tool python

user: setup ## build the library, the tool rdmactl and their tests; build/user
	@cd user && ../vm/cargo fetch --quiet
	@vm/enter --build make $(quiet) -C user

ioat: setup ## build the model of an I/OAT device, for vm/boot --ioat; build/ioat
	@vm/setup ioat
	@cd vm/ioat && ../cargo fetch --quiet
	@vm/enter --build make $(quiet) -C vm/ioat

samples: samples-c tools
	@cd samples && ../vm/cargo fetch --quiet
	@vm/enter --build make $(quiet) -C samples rust

samples-c: setup
	@vm/enter --build make $(quiet) -C samples c

tests-c: setup
	@vm/enter --build make $(quiet) -j$$(nproc) -C tests

tests-built: setup user $(if $(arm64),,ioat)
	@$(if $(arm64),,vm/setup spin chromium)
	@vm/announce $(output)/tests/.built "the tests" tests docs
	@$(MAKE) --no-print-directory tests-c
	@$(if $(arm64),,cd tests/fuzz && ../../vm/cargo build --release $(if $(V),,--quiet))
	@touch $(output)/tests/.built

.PHONY: deb docs release fuzz help run test bench modules shell check rust-analyzer clean distclean setup user tools ioat sample samples samples-c tests-built tests-c \
	test-arm64 test-debug test-race test-kernels test-long upstream guarantees mutants
