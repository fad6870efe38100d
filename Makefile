# SPDX-License-Identifier: GPL-2.0-only
# `make help` lists the targets.

BUILD   ?= build
PREFIX  ?= /usr/local
CLANG   ?= clang
BPFTOOL ?= bpftool
VERSION := 0.1.0

SBINDIR = $(DESTDIR)$(PREFIX)/sbin
MANDIR  = $(DESTDIR)$(PREFIX)/share/man
COMPDIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions

ifneq ($(V),1)
Q = @
say = @printf '  %-7s %s\n' $(1) $(2)
endif

# A root shell without /usr/sbin in its path has no bpftool, ip or nft.
export PATH := $(PATH):/usr/sbin:/sbin

WARN     = -Wall -Wextra -Werror
CPPFLAGS = -iquote include -iquote bpf -iquote userspace/common -iquote userspace/store \
	   -iquote userspace/store/redis -iquote userspace/agent -iquote $(BUILD) -D_GNU_SOURCE \
	   -DEB_VERSION='"$(VERSION)"'
CFLAGS  ?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(CFLAGS) $(WARN) -fno-strict-aliasing $(SANITIZE) -MMD -MP
LIBS     = -Wl,--as-needed -lmicrohttpd -lxdp -lbpf -lyaml -ljansson -lmnl -lsystemd -lhiredis -lssl -lcrypto -llmdb -lelf -lz -lpthread
LDFLAGS += $(SANITIZE)

MULTIARCH := $(shell $(CC) -print-multiarch)
BPF_CFLAGS = -O2 -g -target bpf -mcpu=v3 $(WARN) -fno-strict-aliasing -iquote include -iquote bpf \
	     -isystem /usr/include/$(MULTIARCH) -MMD -MP

objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(addsuffix /*.c,$(1))))
COMMON  = $(call objects,userspace/common)
STORE   = $(call objects,userspace/store userspace/store/redis)
AGENT   = $(call objects,userspace/agent)
CLI     = $(call objects,userspace/cli)
CLI_MODULES = $(filter-out %/main.o,$(CLI))

UNIT = $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/unit_*.c))
XDP  = $(patsubst tests/xdp/%.c,$(BUILD)/tests/%,$(wildcard tests/xdp/xdp_*.c))
REDIS = $(patsubst tests/redis/%.c,$(BUILD)/tests/%,$(wildcard tests/redis/redis_*.c))
NET  = $(patsubst tests/net/%.c,$(BUILD)/tests/%,$(wildcard tests/net/*.c))
XDP_HELPERS = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(wildcard tests/xdp/xdp_*.c),$(wildcard tests/xdp/*.c)))
UNIT_HELPERS = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(wildcard tests/unit/unit_*.c),$(wildcard tests/unit/*.c)))

all: $(BUILD)/edgebucketd $(BUILD)/edgebucket $(BUILD)/edgebucket.bpf.o ## build the agent and the command line

$(BUILD)/edgebucketd: $(AGENT) $(STORE) $(COMMON)
$(BUILD)/edgebucket: $(CLI) $(STORE) $(COMMON)
$(BUILD)/edgebucketd $(BUILD)/edgebucket:
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/edgebucket.bpf.o: bpf/edgebucket.bpf.c
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/edgebucket.skel.h: $(BUILD)/edgebucket.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name edgebucket_bpf > $@.tmp && mv $@.tmp $@

$(addprefix $(BUILD)/userspace/common/,attach.o chain.o object.o): $(BUILD)/edgebucket.skel.h

$(BUILD)/%.o: %.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -iquote $(<D) -iquote userspace/cli $(ALL_CFLAGS) -c $< -o $@

$(UNIT): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(UNIT_HELPERS) $(CLI_MODULES) $(STORE) $(COMMON)
$(XDP): $(BUILD)/tests/%: $(BUILD)/tests/xdp/%.o $(XDP_HELPERS) $(CLI_MODULES) $(STORE) $(COMMON)
$(REDIS): $(BUILD)/tests/%: $(BUILD)/tests/redis/%.o $(BUILD)/tests/redis/harness.o $(STORE) $(COMMON)
$(NET): $(BUILD)/tests/%: $(BUILD)/tests/net/%.o
$(UNIT) $(XDP) $(REDIS) $(NET):
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcmocka $(LIBS) -lm

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

check: deps ## install what is missing, build, run all tests
	$(Q)$(MAKE) all tests
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/run.sh unit xdp net redis persist vm

check-unit check-xdp check-net check-redis check-persist: check-%: all tests ## run one kind of test: check-unit, check-xdp, ...
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/run.sh $*

# Debian's: 5.10 6.1 6.12 6.18 7.3, or whatever else its archives have.
KERNELS ?= 6.1
check-vm: deps ## tests in qemu with Debian's kernels: KERNELS=all, or "6.1 6.12"; TESTS="net_rate vm_reboot"
	$(Q)./tests/install-deps.sh vm && ./tests/install-deps.sh compilers
	$(Q)$(MAKE) all tests
	$(Q)BUILD=$(abspath $(BUILD)) TESTS='$(TESTS)' ./tests/vm/check.sh $(KERNELS)

asan: ## build and run unit and xdp tests with AddressSanitizer and UndefinedBehaviorSanitizer
	$(Q)$(MAKE) BUILD=$(BUILD)/asan SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all' all tests
	$(Q)BUILD=$(abspath $(BUILD)/asan) ./tests/run.sh unit xdp

bench: all ## measure and compare, about five minutes
	$(Q)BUILD=$(abspath $(BUILD)) ./bench/run.sh

lint: ## clang-tidy, cppcheck, mandoc and shellcheck over the sources
	$(Q)BUILD=$(abspath $(BUILD)) ./tests/lint.sh

format: ## lay out the sources with clang-format
	$(Q)clang-format -i $$(git ls-files '*.c' '*.h')

install: all ## install below PREFIX (/usr/local) in DESTDIR
	install -D -m 755 $(BUILD)/edgebucketd $(SBINDIR)/edgebucketd
	install -D -m 755 $(BUILD)/edgebucket $(SBINDIR)/edgebucket
	install -D -m 644 man/edgebucketd.8 $(MANDIR)/man8/edgebucketd.8
	install -D -m 644 man/edgebucket.8 $(MANDIR)/man8/edgebucket.8
	install -D -m 644 man/edgebucket.yaml.5 $(MANDIR)/man5/edgebucket.yaml.5
	install -D -m 644 deploy/completion/edgebucket $(COMPDIR)/edgebucket
	install -D -m 644 deploy/edgebucket.yaml $(DESTDIR)/etc/edgebucket/edgebucket.yaml.sample

uninstall: ## remove what install put there
	rm -f $(SBINDIR)/edgebucketd $(SBINDIR)/edgebucket $(MANDIR)/man8/edgebucketd.8 $(MANDIR)/man8/edgebucket.8 \
		$(MANDIR)/man5/edgebucket.yaml.5 $(COMPDIR)/edgebucket $(DESTDIR)/etc/edgebucket/edgebucket.yaml.sample

clean: ## remove everything built
	rm -rf $(BUILD)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+( [a-z-]+)*:.*## / { printf "  %-34s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: all tests deps demo check check-unit check-xdp check-net check-redis check-persist check-vm asan bench lint format install uninstall clean help
.DELETE_ON_ERROR:
.SECONDARY:

-include $(shell find $(BUILD) $(patsubst %,-path $(BUILD)/% -prune -o,asan deb deploy) -name '*.d' -print 2>/dev/null)
