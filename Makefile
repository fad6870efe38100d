# SPDX-License-Identifier: GPL-2.0-only
# `make help` lists the targets.

BUILD   ?= build
PREFIX  ?= /usr/local
CLANG   ?= clang
BPFTOOL ?= bpftool
VERSION := 0.2.0

SBINDIR = $(PREFIX)/sbin
MANDIR  = $(PREFIX)/share/man
COMPDIR = $(PREFIX)/share/bash-completion/completions
DOCDIR  = $(PREFIX)/share/doc/edgebucket
UNITDIR = $(PREFIX)/lib/systemd/system
CONFDIR = /etc/edgebucket

comma := ,

ifneq ($(CROSS_COMPILE),)
ifeq ($(origin CC),default)
CC = $(CROSS_COMPILE)gcc
endif
ifeq ($(origin AR),default)
AR = $(CROSS_COMPILE)ar
endif
endif

# A dependency file names its target both ways that BUILD can be given, relative and absolute.
DEPS = -MMD -MP -MT $(abspath $@) -MT $(patsubst $(CURDIR)/%,%,$(abspath $@))

ifneq ($(V),1)
Q = @
say = @printf '  %-7s %s\n' $(1) $(2)
endif

# A root shell without /usr/sbin in its path has no bpftool, ip or nft.
export PATH := $(PATH):/usr/sbin:/sbin

WARN     = -Wall -Wextra -Werror
CPPFLAGS += -iquote userspace -iquote include -iquote bpf -iquote $(BUILD) -D_GNU_SOURCE -DEB_VERSION='"$(VERSION)"'
CFLAGS  ?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(CFLAGS) $(WARN) -fno-strict-aliasing $(SANITIZE) $(UNSANITIZE) $(DEPS)
LIBS     = -Wl,--as-needed -lmicrohttpd -lcap-ng -lxdp -lbpf -lyaml -ljansson -lmnl -lsystemd -lhiredis -lssl -lcrypto -llmdb -lelf -lz -lm -lpthread
LDFLAGS += $(SANITIZE)

# Headers are those of the machine that the programs are for. A compiler that knows no sysroot (clang) has none.
# MULTIARCH is Debian's name of the target, which clang 19 does not say.
MULTIARCH := $(shell $(CC) -print-multiarch 2> /dev/null || $(CC) -dumpmachine | sed s/-pc-/-/)
SYSROOT := $(shell $(CC) -print-sysroot 2>/dev/null)
BPF_CFLAGS = -O2 -g -target bpf -mcpu=v3 $(WARN) -fno-strict-aliasing -iquote include -iquote bpf \
	     -isystem $(SYSROOT)/usr/include/$(MULTIARCH) $(DEPS)

objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(addsuffix /*.c,$(1))))
COMMON  = $(call objects,$(addprefix userspace/,base netlink ipc config policy maps attach redis store))
AGENT   = $(call objects,userspace/agent)
CLI     = $(call objects,userspace/cli userspace/support)
CLI_MODULES = $(filter-out %/main.o,$(CLI))

UNIT = $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/unit_*.c))
XDP  = $(patsubst tests/xdp/%.c,$(BUILD)/tests/%,$(wildcard tests/xdp/xdp_*.c))
REDIS = $(patsubst tests/redis/%.c,$(BUILD)/tests/%,$(wildcard tests/redis/redis_*.c))
NET  = $(patsubst tests/net/%.c,$(BUILD)/tests/%,$(wildcard tests/net/*.c))
XDP_HELPERS = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(wildcard tests/xdp/xdp_*.c),$(wildcard tests/xdp/*.c)))
UNIT_HELPERS = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(wildcard tests/unit/unit_*.c),$(wildcard tests/unit/*.c)))

FUZZ = $(patsubst tests/fuzz/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_MODULES = $(filter-out %/main.o,$(AGENT)) $(COMMON)

all: $(BUILD)/edgebucketd $(BUILD)/edgebucket $(BUILD)/edgebucket.bpf.o ## build the agent and the command line

$(BUILD)/edgebucketd: $(AGENT) $(COMMON)
$(BUILD)/edgebucket: $(CLI) $(COMMON)
$(BUILD)/edgebucketd $(BUILD)/edgebucket:
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/edgebucket.bpf.o $(BUILD)/view.bpf.o: $(BUILD)/%.bpf.o: bpf/%.bpf.c
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@.tmp && mv $@.tmp $@

$(addprefix $(BUILD)/userspace/attach/,bpf_object.o dispatcher.o loaded_programs.o): $(BUILD)/edgebucket.skel.h
$(BUILD)/userspace/attach/views.o: $(BUILD)/view.skel.h

$(BUILD)/%.o: %.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c $< -o $@

# What says the version, which is above.
$(patsubst %.c,$(BUILD)/%.o,$(shell grep -rl EB_VERSION userspace --include='*.c')): Makefile

# Headers inside tunnels lie at any even byte. The program's processors read them there.
$(BUILD)/tests/unit/unit_parse.o $(BUILD)/tests/fuzz/fuzz_parse.o: UNSANITIZE = -fno-sanitize=alignment

$(UNIT): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(UNIT_HELPERS) $(CLI_MODULES) $(COMMON)
$(XDP): $(BUILD)/tests/%: $(BUILD)/tests/xdp/%.o $(XDP_HELPERS) $(CLI_MODULES) $(COMMON)
$(REDIS): $(BUILD)/tests/%: $(BUILD)/tests/redis/%.o $(BUILD)/tests/redis/harness.o $(COMMON)
$(NET): $(BUILD)/tests/%: $(BUILD)/tests/net/%.o
$(UNIT) $(XDP) $(REDIS) $(NET):
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS)

# An archive, so that a fuzzer has of libsystemd's functions and of ours what it asks for.
$(BUILD)/modules.a: $(FUZZ_MODULES)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

WORLD_WRAPS = socket connect getsockopt setsockopt send recv close clock_gettime getrandom eb_resolve_start eb_resolve_cancel
$(BUILD)/tests/fuzz_redis: $(BUILD)/tests/fuzz/world.o
$(BUILD)/tests/fuzz_redis: WRAPS = $(WORLD_WRAPS)
$(BUILD)/tests/fuzz_config: WRAPS = open
$(BUILD)/tests/fuzz_restore: WRAPS = bpf_obj_get_info_by_fd
$(BUILD)/tests/fuzz_control $(BUILD)/tests/fuzz_http: $(BUILD)/tests/fuzz/endpoint.o
$(FUZZ): $(BUILD)/tests/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/modules.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer $(addprefix -Wl$(comma)--wrap=,$(WRAPS)) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

fuzzers: ## build the fuzzers, with clang and sanitizers
	$(Q)$(MAKE) BUILD=$(BUILD)/fuzz CC=$(CLANG) \
		SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' fuzz-programs

fuzz-programs: $(FUZZ)

$(BUILD)/tests/other.bpf.o: tests/vm/other.bpf.c
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

tests: $(UNIT) $(XDP) $(REDIS) $(NET) $(BUILD)/tests/other.bpf.o ## build the test programs

deps: ## install what building and testing need, from Debian's or Ubuntu's packages
	$(Q)./tests/install-deps.sh

demo: deps ## show everything on a private network namespace with real traffic
	$(Q)$(MAKE) all $(NET)
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/demo.sh
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/demo_fleet.sh

check: deps ## install what is missing, build, run all tests
	$(Q)$(MAKE) all tests fuzzers
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/run.sh vm net persist redis chaos fuzz xdp unit

check-unit check-xdp check-net check-redis check-persist check-chaos: check-%: all tests ## run one kind of test: check-unit, check-xdp, ...
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/run.sh $*

chaos: all tests ## random faults for SECONDS (300) of one node, then of a fleet, from a SEED, which is printed: make chaos SEED=7
	$(Q)for run in chaos fleet; do \
		BUILD=$(abspath $(BUILD)) ./tests/chaos/$$run.py $(if $(SEED),--seed $(SEED)) \
			--seconds $(or $(SECONDS),300) || exit 1; \
	done

# Debian's: 5.10 6.1 6.12 6.18 7.3, or whatever else its archives have.
KERNELS ?= 6.1
check-vm: deps ## tests in qemu with Debian's kernels: KERNELS=all, or "6.1 6.12"; TESTS="net_rate vm_reboot"
	$(Q)./tests/install-deps.sh vm && ./tests/install-deps.sh compilers
	$(Q)$(MAKE) all tests
	$(Q)BUILD=$(abspath $(BUILD)) TESTS='$(TESTS)' ./tests/vm/check.sh $(KERNELS)

# Debian's kernels for arm64, the oldest and the newest. EB_CPU=cortex-a72 is a machine without atomic instructions.
ARM64_KERNELS ?= 6.1 7.3
ARM64_TESTS ?= unit xdp net_counts net_rate net_reload net_upgrade net_kill net_levels net_bans net_fleet net_tunnels \
	persist_mirror persist_restore persist_kill persist_embedded vm_dispatcher vm_reboot
ARM64_BUILD = $(abspath $(BUILD))/arm64
ARM64_CC = aarch64-linux-gnu-gcc --sysroot=$(ARM64_BUILD)/root

arm64-programs:
	$(Q)./tests/install-deps.sh arm64
	$(Q)EB_ARCH=arm64 BUILD=$(ARM64_BUILD) ./tests/vm/root.sh
	$(Q)$(MAKE) BUILD=$(BUILD)/arm64 CC='$(ARM64_CC)' all tests

check-arm64: deps arm64-programs ## build for arm64, and run tests in qemu with Debian's kernels for it: TESTS="unit xdp"
	$(Q)EB_ARCH=arm64 BUILD=$(ARM64_BUILD) TESTS='$(or $(TESTS),$(ARM64_TESTS))' ./tests/vm/check.sh $(ARM64_KERNELS)

deps-deploy:
	$(Q)./tests/install-deps.sh deploy

check-deploy: deps-deploy ## test what is in deploy/ and the package, in containers with a real systemd
	$(Q)$(MAKE) all tests
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/run.sh deploy

check-kubernetes: deps-deploy ## test deploy/kubernetes: with an API server that is built once (minutes), and as a container
	$(Q)$(MAKE) all tests
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/run.sh deploy_kubernetes deploy_api deploy_image

check-distro: deps-deploy ## build and test in a chroot of another Debian: DIST=trixie, or sid; TESTS="unit net_rate"
	$(Q)BUILD=$(abspath $(BUILD)) $(if $(TESTS),TESTS='$(TESTS)') ./tests/distro.sh $(or $(DIST),trixie)

check-fuzz: fuzzers ## give each fuzzer its seeds and 10,000 inputs made from them
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/run.sh fuzz

fuzz: fuzzers ## fuzz for long: each target, or TARGETS="redis config", for FUZZ_SECONDS=60 or RUNS=1000000
	$(Q)BUILD=$(abspath $(BUILD))/fuzz FUZZ_SECONDS=$(FUZZ_SECONDS) RUNS=$(RUNS) ./tests/fuzz/fuzz.sh $(TARGETS)

asan-programs:
	$(Q)$(MAKE) BUILD=$(BUILD)/asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all' all tests

KINDS ?= unit xdp net redis persist
asan: asan-programs ## build and run all tests with AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
	$(Q)BUILD=$(abspath $(BUILD)/asan) ./tests/run.sh $(KINDS)

soak: all tests asan-programs ## a thousand reloads and a hundred Redis connections, plain and with LeakSanitizer
	$(Q)export SOAK_RELOADS=1000 SOAK_RECONNECTS=100; \
		EB_KILL_EVERY=1 BUILD=$(abspath $(BUILD)) ./tests/run.sh net_layers_kill net_pins_kill && \
		BUILD=$(abspath $(BUILD)) ./tests/persist/persist_soak.sh && \
		BUILD=$(abspath $(BUILD)/asan) ./tests/persist/persist_soak.sh

# Without optimization, so that lines are those of the sources.
coverage: ## run all tests, and say which lines of userspace/ they reach: the table, and coverage/html/index.html in BUILD
	$(Q)$(MAKE) BUILD=$(BUILD)/coverage CFLAGS='-O0 -g' SANITIZE=--coverage all tests
	$(Q)find $(BUILD)/coverage -name '*.gcda' -delete
	$(Q)BUILD=$(abspath $(BUILD)/coverage) ./tests/run.sh $(KINDS); ret=$$?; mkdir -p $(BUILD)/coverage/html && \
		gcovr --root . --filter userspace/ --object-directory $(BUILD)/coverage --exclude-unreachable-branches \
		--html-details $(BUILD)/coverage/html/index.html --txt - $(BUILD)/coverage && exit $$ret

bench: all ## measure and compare, about ten minutes
	$(Q)BUILD=$(abspath $(BUILD)) ./bench/run.sh

lint: ## clang-tidy, cppcheck, mandoc and shellcheck over the sources
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/lint.sh

format: ## lay out the sources with clang-format
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

# Source and target of everything that is installed as it is.
PROGRAMS = $(BUILD)/edgebucketd:$(SBINDIR)/edgebucketd $(BUILD)/edgebucket:$(SBINDIR)/edgebucket
FILES = $(foreach page,$(wildcard man/*.[58]),$(page):$(MANDIR)/man$(patsubst .%,%,$(suffix $(page)))/$(notdir $(page))) \
	$(foreach doc,README.md $(wildcard docs/*.md),$(doc):$(DOCDIR)/$(doc)) \
	$(foreach example,$(EXAMPLES),$(example):$(DOCDIR)/examples/$(example:deploy/%=%)) \
	deploy/completion/edgebucket:$(COMPDIR)/edgebucket \
	deploy/edgebucket.yaml:$(CONFDIR)/edgebucket.yaml.sample
EXAMPLES = $(wildcard deploy/recipes/*.yaml deploy/redis/*.acl deploy/prometheus/rules.yaml deploy/grafana/* \
	deploy/fail2ban/* deploy/crowdsec/*)
UNIT_FILE = $(UNITDIR)/edgebucketd.service
target = $(DESTDIR)$(lastword $(subst :, ,$(1)))

install: all ## install below PREFIX (/usr/local) in DESTDIR
	$(foreach file,$(PROGRAMS),install -D -m 755 $(firstword $(subst :, ,$(file))) $(call target,$(file)) &&) true
	$(foreach file,$(FILES),install -D -m 644 $(firstword $(subst :, ,$(file))) $(call target,$(file)) &&) true
	install -d $(DESTDIR)$(UNITDIR)
	sed 's,/usr/sbin/,$(SBINDIR)/,' deploy/systemd/edgebucketd.service > $(DESTDIR)$(UNIT_FILE)
	chmod 644 $(DESTDIR)$(UNIT_FILE)

uninstall: ## remove what install put there; configuration, state and what is in the kernel stay
	rm -f $(foreach file,$(PROGRAMS) $(FILES) $(UNIT_FILE),$(call target,$(file)))
	rm -rf $(DESTDIR)$(DOCDIR)
	-rmdir --ignore-fail-on-non-empty $(DESTDIR)$(CONFDIR)

deb: ## build a Debian package in build/deb; HOST_ARCH=arm64 for another architecture than this machine's
	$(Q)BUILD=$(abspath $(BUILD)) HOST_ARCH=$(HOST_ARCH) ./debian/build.sh

clean: ## remove everything built
	rm -rf $(BUILD)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+( [a-z-]+)*:.*## / { printf "  %-34s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: all tests deps deps-deploy demo check check-unit check-xdp check-net check-redis check-persist check-chaos chaos \
	check-arm64 check-deploy check-kubernetes check-distro check-fuzz check-vm arm64-programs fuzz fuzzers fuzz-programs \
	asan asan-programs soak coverage bench lint format install uninstall deb clean help
.DELETE_ON_ERROR:
.SECONDARY:

-include $(wildcard $(BUILD)/*.d) $(shell find $(BUILD)/userspace $(BUILD)/tests -name '*.d' 2>/dev/null)
