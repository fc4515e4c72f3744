# rtbroker
#
#   make                  build ./rtbroker (optimised, with debug information)
#   make run              install what the build needs, build, start ./rtbroker --dev
#   make test             install what the tests need, then lint, unit, simulator, fuzz-corpus and integration tests
#   make unit             unit tests only (ASan and UBSan);  ONLY=hub runs those whose path contains "hub"
#   make integration      integration tests only;            ONLY=polling likewise
#   make sim              the simulator: SEED=7 one run with its trace, SEEDS=1000 many (FROM=1 BUG=name); plain: what `make test` runs
#   make lint             layering, banned functions, sizes, format; every rule tests itself first
#   make format           let clang-format rewrite src/ and test/
#   make fuzz             build the fuzz targets with clang and libFuzzer
#   make fuzz-run         fuzz one of them: FUZZ=http FUZZ_SECONDS=60 FUZZ_MAX_LEN=1024
#   make bench            build and run the benchmarks;      make bench-build only builds them
#   make install          PREFIX=/usr/local DESTDIR= SYSCONFDIR=/etc UNITDIR=$(PREFIX)/lib/systemd/system
#   make deps             install what the build needs (Debian 12 and 13)
#   make clean            remove build/ and ./rtbroker
#
# Variables: V=1 shows commands. CC=clang-14. CFLAGS, CPPFLAGS, LDFLAGS are added to ours.
# SAN=address,undefined or SAN=thread builds with sanitizers, TEST=1 with fault injection: each into its own
# directory below build/. BUILD=DIR puts build/ elsewhere. WERROR=0 lets warnings pass. LTO=1.

VERSION := 0.1.0

# Libraries found with pkg-config; each is included in one folder only (scripts/lint.py has the list).
PKGS := libuv yaml-0.1 libcjson sqlite3 libcrypto hiredis rdkafka libpq
# wslay has no pkg-config file in Debian; llhttp comes as source there (third_party/llhttp.mk).
EXTRA_LIBS := -lwslay

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
BUILD ?= build
CFLAGS ?=
SAN ?=
TEST ?=
LTO ?=
WERROR ?= 1
ONLY ?=
CLANG ?= $(if $(shell command -v clang-14),clang-14,clang)
FUZZ ?= http
FUZZ_SECONDS ?= 60
FUZZ_MAX_LEN ?= 1024

# One job for each core unless told otherwise.
ifeq (,$(filter -j%,$(MAKEFLAGS))$(filter --jobserver%,$(MAKEFLAGS))$(filter-out 0,$(MAKELEVEL)))
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
SHELL := /bin/sh

# ---- variant ---------------------------------------------------------------------------------------------------

comma := ,
san_name := $(subst thread,tsan,$(subst undefined,ubsan,$(subst address,asan,$(subst $(comma),-,$(SAN)))))
cc_name := $(filter-out cc gcc,$(notdir $(CC)))
empty :=
space := $(empty) $(empty)
variant_words := $(if $(FUZZER),fuzz) $(if $(TEST),test) $(san_name) $(if $(LTO),lto) $(subst $(space),-,$(cc_name))
VARIANT := $(or $(subst $(space),-,$(strip $(variant_words))),release)
B := $(BUILD)/$(VARIANT)

# ---- flags -----------------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
    -Wformat=2 -Wno-format-nonliteral -Wundef $(if $(filter 1,$(WERROR)),-Werror)
OPTIMISE := $(if $(SAN)$(TEST)$(FUZZER),-O1 -fno-omit-frame-pointer,-O2)
HARDEN := $(if $(SAN)$(FUZZER)$(findstring -O0,$(CFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
HARDEN_LD := -Wl,-z,relro,-z,now -Wl,--as-needed
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=all)) \
    $(if $(FUZZER),-fsanitize=fuzzer-no-link)

include third_party/llhttp.mk

pkg = $(shell pkg-config $(1) $(PKGS) 2>/dev/null)
PKG_CFLAGS := $(call pkg,--cflags)
PKG_LIBS := $(call pkg,--libs)

RT_CPPFLAGS := -D_GNU_SOURCE $(if $(TEST),-DRT_TEST) -Isrc -I$(B)/gen $(PKG_CFLAGS) $(LLHTTP_CFLAGS) $(CPPFLAGS)
RT_CFLAGS := -std=c17 $(OPTIMISE) -g -fPIE -pthread -fno-strict-aliasing -fno-common \
    -ffile-prefix-map=$(CURDIR)/= $(HARDEN) $(SAN_FLAGS) $(if $(LTO),-flto=auto -ffat-lto-objects)
RT_LDFLAGS := -pie -pthread $(HARDEN_LD) $(SAN_FLAGS) $(if $(LTO),-flto=auto) $(LDFLAGS)
RT_LIBS := $(PKG_LIBS) $(LLHTTP_LIBS) $(EXTRA_LIBS) -lm
# CFLAGS goes last, so that -O0 and the like win.
COMPILE = $(CC) $(RT_CPPFLAGS) $(RT_CFLAGS) $(WARNINGS) $(CFLAGS) -MMD -MP -c

# ---- what there is ---------------------------------------------------------------------------------------------

find = $(sort $(shell find $(1) -type f -name '$(2)' 2>/dev/null))

SRCS := $(filter-out src/main.c,$(call find,src,*.c))
WEB_FILES := $(call find,src/admin/web,*)
GEN_OBJS := $(B)/gen/web_files.o
LIB_OBJS := $(SRCS:%.c=$(B)/%.o) $(GEN_OBJS) $(LLHTTP_OBJS)
LIB := $(B)/librtbroker.a
BIN := $(B)/rtbroker

# What is not named test_*.c helps: a test program takes what it needs.
UNIT_SRCS := $(call find,test/unit,test_*.c)
TEST_LIB := $(B)/test/libtest.a
TEST_LIB_OBJS := $(patsubst %.c,$(B)/%.o,$(filter-out $(UNIT_SRCS),$(call find,test/unit,*.c) $(call find,test/lib,*.c)))
UNIT_BINS := $(UNIT_SRCS:%.c=$(B)/%)
FUZZ_SRCS := $(call find,test/fuzz,fuzz_*.c)
FUZZ_BINS := $(FUZZ_SRCS:%.c=$(B)/%)
# A file with a main() is a program; it takes what it needs of the others.
BENCH_SRCS := $(call find,test/bench,*.c)
BENCH_MAINS := $(if $(BENCH_SRCS),$(shell grep -lE '^int main\b' $(BENCH_SRCS)))
BENCH_BINS := $(BENCH_MAINS:test/bench/%.c=$(BUILD)/bench/%)
BENCH_LIB := $(B)/test/bench/libbench.a
BENCH_LIB_OBJS := $(patsubst %.c,$(B)/%.o,$(filter-out $(BENCH_MAINS),$(BENCH_SRCS)))
# Its fakes stand in front of the library; calls of the functions that bugs.c wraps go through it.
SIM_OBJS := $(patsubst %.c,$(B)/%.o,$(call find,test/sim,*.c))
SIM_BIN := $(B)/test/sim/sim
SIM_WRAPPED := $(if $(wildcard test/sim/bugs.c),$(shell sed -n 's/^WRAP.[^,]*, \([a-z_]*\),.*/\1/p' test/sim/bugs.c))
DEPS := $(LIB_OBJS:.o=.d) $(B)/src/main.d $(TEST_LIB_OBJS:.o=.d) $(UNIT_BINS:=.d) $(FUZZ_BINS:=.d) \
    $(BENCH_SRCS:%.c=$(B)/%.d) $(SIM_OBJS:.o=.d)

# ---- output ----------------------------------------------------------------------------------------------------

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s%s\n' '$(1)' '$(2)'
endif

# ---- targets ---------------------------------------------------------------------------------------------------

.PHONY: all help deps run test unit sim sim-bin integration lint format fuzz fuzz-run fuzz-bins unit-bins bench bench-build \
    install clean check-clang FORCE

# Only the plain release build lands at the top level; variants stay in their directories.
ifeq ($(VARIANT),release)
all: rtbroker
rtbroker: $(BIN)
	$(Q)cp -f $< $@.new && mv -f $@.new $@
else
all: $(BIN)
endif

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

deps:
	@scripts/install-deps.sh build

run:
	@scripts/install-deps.sh build
	@$(MAKE) all
	@exec ./rtbroker --dev

test:
	@scripts/install-deps.sh test
	@$(MAKE) all
	@python3 scripts/run_tests.py

unit:
	@scripts/install-deps.sh test
	@python3 scripts/run_tests.py --stage unit --only '$(ONLY)'

SEED ?=
SEEDS ?=
FROM ?=
BUG ?=
sim:
	@$(MAKE) TEST=1 SAN=address,undefined sim-bin
	@$(BUILD)/test-asan-ubsan$(addprefix -,$(cc_name))/test/sim/sim $(addprefix --seed ,$(SEED)) $(addprefix --seeds ,$(SEEDS)) \
	    $(addprefix --from ,$(FROM)) $(addprefix --bug ,$(BUG))
sim-bin: $(SIM_BIN)

integration: all
	@scripts/install-deps.sh test
	@python3 scripts/run_tests.py --stage integration --only '$(ONLY)'

lint:
	@scripts/install-deps.sh lint
	@python3 scripts/lint.py --self-test
	@python3 scripts/lint.py
	@python3 scripts/check_docs.py

format:
	@scripts/install-deps.sh lint
	@python3 scripts/lint.py --format

unit-bins: $(UNIT_BINS)
fuzz-bins: $(FUZZ_BINS)

# The other compiler's warnings, without its code.
check-clang:
	@$(MAKE) CC=$(CLANG) TEST=1 syntax

.PHONY: syntax
syntax: $(SRCS:%=$(B)/%.syntax) $(if $(wildcard src/main.c),$(B)/src/main.c.syntax)
$(B)/%.c.syntax: %.c $(B)/.flags | $(B)/gen/version.h
	$(Q)mkdir -p $(@D)
	$(call say,CHECK,$<)
	$(Q)$(CC) $(RT_CPPFLAGS) $(RT_CFLAGS) $(WARNINGS) -fsyntax-only -MMD -MP -MT $@ -MF $@.d $<
	$(Q)mkdir -p $(@D) && touch $@
-include $(wildcard $(SRCS:%=$(B)/%.syntax.d) $(B)/src/main.c.syntax.d)

fuzz:
	@scripts/install-deps.sh fuzz
	@$(MAKE) FUZZER=1 CC=$(CLANG) SAN=address,undefined fuzz-bins
	@echo 'run one: make fuzz-run FUZZ=NAME FUZZ_SECONDS=60'

fuzz-run: fuzz
	@mkdir -p $(BUILD)/corpus/$(FUZZ)
	@ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=4:thread_local_quarantine_size_kb=64 \
	    $(BUILD)/fuzz-asan-ubsan-$(CLANG)/test/fuzz/fuzz_$(FUZZ) -max_total_time=$(FUZZ_SECONDS) \
	    -max_len=$(FUZZ_MAX_LEN) -timeout=5 -artifact_prefix=$(BUILD)/corpus/ $(BUILD)/corpus/$(FUZZ) test/fuzz/corpus/$(FUZZ)

bench: all bench-build
	@scripts/install-deps.sh bench
	@$(MAKE) bench-peers
	@status=0; node test/bench/run.mjs || status=1; node test/bench/cluster.mjs || status=1; exit $$status

bench-build: $(BENCH_BINS)

# What the benchmark compares with.
.PHONY: bench-peers
bench-peers: $(patsubst %/package-lock.json,%/node_modules/.package-lock.json,\
    $(wildcard test/bench/package-lock.json test/bench/*/package-lock.json))

%/node_modules/.package-lock.json: %/package-lock.json
	$(call say,NPM,$*)
	$(Q)cd $* && npm ci --no-audit --no-fund --loglevel=error >/dev/null
	$(Q)mkdir -p $(@D) && touch $@

clean:
	$(Q)rm -rf $(BUILD) rtbroker rtbroker.new

# ---- compiling and linking -------------------------------------------------------------------------------------

# Rebuilds everything when the compiler or its flags change; says what is missing before the first error would.
$(B)/.flags: FORCE
	@mkdir -p $(@D)
	@PKGS='$(PKGS)' scripts/check-deps.sh
	@printf '%s\n' '$(subst ','\'',$(COMPILE) | $(RT_LDFLAGS) | $(RT_LIBS)) | '"$$($(CC) --version | head -n 1)" >$@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

# Makes the archive anew when a source file comes or goes.
$(B)/.objects: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(LIB_OBJS) $(TEST_LIB_OBJS) $(BENCH_LIB_OBJS) >$@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

$(B)/gen/version.h: FORCE
	@mkdir -p $(@D)
	@CC='$(CC)' CPPFLAGS='$(LLHTTP_CFLAGS)' scripts/version.sh '$(VERSION)' $(PKGS) $(if $(LLHTTP_LIBS),libllhttp) >$@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

$(B)/.web: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(WEB_FILES) >$@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv -f $@.new $@; fi

$(B)/gen/web_files.c: scripts/embed.sh $(WEB_FILES) $(B)/.web
	$(call say,EMBED,src/admin/web)
	$(Q)scripts/embed.sh src/admin/web >$@

$(B)/gen/%.o: $(B)/gen/%.c $(B)/.flags
	$(call say,CC,$(notdir $<))
	$(Q)$(COMPILE) -o $@ $<

$(B)/src/%.o: src/%.c $(B)/.flags | $(B)/gen/version.h
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) -o $@ $<

# cmocka's and libFuzzer's conventions do not survive all of the warnings.
$(B)/test/%.o: test/%.c $(B)/.flags | $(B)/gen/version.h
	$(Q)mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(COMPILE) -Itest -Wno-conversion -Wno-sign-conversion -Wno-missing-prototypes -o $@ $<

# A name defined twice would be seen only by who happens to link both.
$(LIB): $(LIB_OBJS) $(B)/.objects
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $(LIB_OBJS)
	$(Q)twice=$$(nm -g --defined-only $@ 2>/dev/null | awk '$$2 ~ /^[TDBRC]$$/ {print $$3}' | sort | uniq -d); \
	    [ -z "$$twice" ] || { echo "defined more than once in src/:" $$twice >&2; exit 1; }

LINK = $(CC) $(RT_CFLAGS) $(CFLAGS) -o $@ $(1) $(RT_LDFLAGS) $(RT_LIBS)

$(BIN): $(B)/src/main.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(call LINK,$(B)/src/main.o $(LIB))

$(TEST_LIB): $(TEST_LIB_OBJS) $(B)/.objects
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $(TEST_LIB_OBJS)

$(B)/test/unit/%: $(B)/test/unit/%.o $(TEST_LIB) $(LIB)
	$(call say,LD,$@)
	$(Q)$(call LINK,$< $(TEST_LIB) $(LIB)) -lcmocka

# Without librdkafka: a call that no fake answers is an error here.
$(SIM_BIN): $(SIM_OBJS) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(RT_CFLAGS) $(CFLAGS) -o $@ $(SIM_OBJS) $(LIB) $(RT_LDFLAGS) $(SIM_WRAPPED:%=-Wl,--wrap=%) \
	    $(filter-out -lrdkafka,$(RT_LIBS))

# fuzz_sio.c compiles the rules once.
$(B)/test/fuzz/fuzz_sio: FUZZ_WRAPPED := rt_sio_rules_new rt_sio_rules_free

# With libFuzzer's main when fuzzing, else with ours, which replays a corpus.
FUZZ_MAIN := $(if $(FUZZER),,$(B)/test/fuzz/replay.o)
$(B)/test/fuzz/fuzz_%: $(B)/test/fuzz/fuzz_%.o $(FUZZ_MAIN) $(LIB)
	$(call say,LD,$@)
	$(Q)$(call LINK,$< $(FUZZ_MAIN) $(LIB)) $(FUZZ_WRAPPED:%=-Wl,--wrap=%) $(if $(FUZZER),-fsanitize=fuzzer)

$(BENCH_LIB): $(BENCH_LIB_OBJS) $(B)/.objects
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D) && rm -f $@ && ar rcs $@ $(BENCH_LIB_OBJS)

# Measures a part of the broker itself.
$(BUILD)/bench/sinkbench: $(B)/test/bench/sinkbench.o $(LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(call LINK,$< $(LIB))

# Nothing of the broker is linked: the load generator must not share its mistakes.
$(BUILD)/bench/%: $(B)/test/bench/%.o $(BENCH_LIB)
	$(Q)mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(RT_CFLAGS) $(CFLAGS) -o $@ $< $(BENCH_LIB) $(RT_LDFLAGS) -lm

-include $(wildcard $(DEPS))

# ---- installation ----------------------------------------------------------------------------------------------

# The pages lie as in the tree, so that the links between them hold. An image is built without them.
D := $(DESTDIR)
DOC := $(PREFIX)/share/doc/rtbroker
install: all
	$(Q)install -D -m 755 rtbroker '$(D)$(PREFIX)/bin/rtbroker'
	$(Q)install -D -m 644 -t '$(D)$(DOC)' $(wildcard README.md LICENSE)
	$(Q)[ ! -d docs ] || find $(wildcard docs test/*/README.md) -type f -exec install -D -m 644 {} '$(abspath $(D)/)$(DOC)/{}' \;
	$(Q)for page in $(wildcard docs/man/*.[1-8]); do \
	    install -D -m 644 "$$page" "$(D)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}"; done
	$(Q)config='$(D)$(SYSCONFDIR)/rtbroker/rtbroker.yaml'; [ -e "$$config" ] || { \
	    install -d "$${config%/*}" && ./rtbroker init >"$$config" || { rm -f "$$config"; exit 1; }; }
	$(Q)install -d '$(D)$(UNITDIR)'
	$(Q)sed 's|@BINDIR@|$(PREFIX)/bin|; s|@SYSCONFDIR@|$(SYSCONFDIR)|; s|@DOCDIR@|$(DOC)|' scripts/rtbroker.service.in \
	    >'$(D)$(UNITDIR)/rtbroker.service'
	@echo 'installed below $(D)$(PREFIX)'
