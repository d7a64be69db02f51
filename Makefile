# make                      release build in build/release
# make check                install what is missing, build and run every test
# make demo                 quantize the demonstration model, show what it costs
# make V=1                  the commands as they are run
# make config=asan check    the same under AddressSanitizer and UBSan (also debug, tsan)
# make lint                 arrows, headers, symbol prefixes, formatting, clang-tidy
# make bench                kernels and whole jobs against this machine's own roof
# make cross                the kernels' bits and whole files on other processors, under qemu
# make emulated             the AVX-512 kernels' tests on a processor that has AVX2 only
# make fuzz                 libFuzzer binaries in build/fuzz (clang)
# make format               clang-format everything in place
# make install prefix=/usr DESTDIR=...

MAKEFLAGS += --no-builtin-rules --output-sync=target
# For what builds much: a job a processor, unless it was said how many.
jobs = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
config ?= release
B ?= build/$(config)

CLANG ?= clang
# gcc's OpenMP runtime makes ThreadSanitizer see races that are none.
compiler := $(if $(filter tsan,$(config)),$(CLANG),gcc)
CC := $(if $(filter default undefined,$(origin CC)),$(compiler),$(CC))
AR := $(if $(filter default undefined,$(origin AR)),ar,$(AR))
PKG_CONFIG ?= pkg-config
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
machine = $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))

warnings = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion \
           -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings
config_release = -O2
config_debug   = -O0
config_asan    = -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
config_tsan    = -O1 -fsanitize=thread
config_fuzz    = -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
config_cover   = -O0 --coverage
# No -ffast-math, no contraction: output bytes must not depend on the machine.
openmp = -fopenmp
ifeq ($(config),tsan)
export OMP_TOOL_LIBRARIES = libarcher.so
export TSAN_OPTIONS = ignore_noninstrumented_modules=1
endif
base = -std=c11 -D_GNU_SOURCE -I. -g -ffp-contract=off $(openmp) \
       $(warnings) $(or $(config_$(config)),$(error no such config: $(config)))

# A word for each step; the whole command with V=1.
say = $(if $(V),,@echo '  $(1)  $(2)';)

# ---- what we stand on: one Debian package each, each behind one file of ours --
packages := jansson yaml-0.1 libpcre2-8 libutf8proc zlib libzip libxxhash libmd check
apt_build := gcc libc6-dev make pkg-config libjansson-dev libyaml-dev libpcre2-dev libutf8proc-dev \
             zlib1g-dev libzip-dev libxxhash-dev libmd-dev check
apt_clang := clang libomp-dev
apt_lint := clang-format clang-tidy clang mandoc shellcheck
apt_cross := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user libsimde-dev
libraries := $(filter-out check,$(packages))
# recursive (=, not :=): asked when used, after `deps` may have installed them
lib_cflags = $(shell $(PKG_CONFIG) --cflags $(libraries))
lib_ldlibs = $(shell $(PKG_CONFIG) --libs $(libraries)) -lm
check_cflags = $(shell $(PKG_CONFIG) --cflags check)
check_ldlibs = $(shell $(PKG_CONFIG) --libs check)

# ---- sources: one library per folder, in the order of the layers ---------------
layers := kernels formats quant validate
other_isa = $(if $(filter x86_64,$(machine)),,kernels/x86)
sources = $(filter-out $(addsuffix /%,$(other_isa)),$(shell find $(1) -name '*.c' | sort))
objects = $(patsubst %.c,$(B)/%.o,$(call sources,$(1)))
libs := $(patsubst %,$(B)/lib%.a,tools validate quant formats kernels)
program := $(B)/quern
tests := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/test_*.c))
fuzzers := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

all: $(program)

# ---- one line per instruction set -----------------------------------------------
flags_avx2 := -mavx2 -mfma -mf16c
# Plain loops over rows of activations, which gcc leaves scalar at -O2.
$(B)/validate/%.o: loops = $(if $(filter release,$(config)),-O3)
$(B)/%_avx2.o:   isa = $(flags_avx2)
$(B)/%_avx512.o: isa = $(flags_avx2) -mavx512f -mavx512dq -mavx512bw -mavx512vl

$(B)/%.o: %.c $(B)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(base) $(lib_cflags) $(if $(filter tests/%,$<),$(check_cflags)) $(isa) $(loops) $(CFLAGS) -MMD -MP -c $< -o $@

# The AVX-512 files built for AVX2 by way of SIMDe, and the word that the level runs:
# what a link meets before libkernels.a counts instead of what is in there.
emulation := tests/cross/emulated
emulated = $(patsubst %.c,$(B)/emulated/%.o,$(filter %_avx512.c,$(call sources,kernels))) \
           $(B)/$(emulation)/detect_emulated.o
$(B)/emulated/%_avx512.o: %_avx512.c $(B)/.flags
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) $(CPPFLAGS) $(base) $(flags_avx2) -isystem $(emulation) -Wno-psabi $(CFLAGS) -MMD -MP -c $< -o $@

define library
$(B)/lib$(1).a: $(call objects,$(1))
	@rm -f $$@
	$$(call say,AR,$$@)$(AR) rcs $$@ $$^
endef
$(foreach l,$(layers),$(eval $(call library,$(l))))

# All of tools/ but main(), so that tests can link it.
$(B)/libtools.a: $(filter-out $(B)/tools/quern.o,$(call objects,tools))
	@rm -f $@
	$(call say,AR,$@)$(AR) rcs $@ $^

$(program): $(B)/tools/quern.o $(libs)
	$(call say,LINK,$@)$(CC) $(base) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(lib_ldlibs)

$(B)/tests/test_%: $(B)/tests/test_%.o $(call objects,tests/support) $(libs)
	$(call say,LINK,$@)$(CC) $(base) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(check_ldlibs) $(lib_ldlibs)

$(B)/emulated/test_%: $(B)/tests/test_%.o $(call objects,tests/support) $(emulated) $(libs)
	$(call say,LINK,$@)$(CC) $(base) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(check_ldlibs) $(lib_ldlibs)

$(B)/emulated/quern: $(B)/tools/quern.o $(emulated) $(libs)
	$(call say,LINK,$@)$(CC) $(base) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(lib_ldlibs)

$(B)/emulated/fingerprint: $(B)/tests/cross/fingerprint.o $(B)/tests/support/random.o $(emulated) $(B)/libkernels.a
	$(call say,LINK,$@)$(CC) $(base) $(CFLAGS) $(LDFLAGS) $^ -o $@ -lm

# A corpus is replayed by a plain main, so every test run covers it.
$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay.o $(libs)
	$(call say,LINK,$@)$(CC) $(base) $(CFLAGS) $(LDFLAGS) $^ -o $@ $(lib_ldlibs)

# A change of flags rebuilds what depends on them.
$(B)/.flags: force
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(base) $(CFLAGS)' | cmp -s - $@ || \
	 echo '$(CC) $(CPPFLAGS) $(base) $(CFLAGS)' > $@

# ---- dependencies ------------------------------------------------------------------
# $(call install,words,what for): apt packages, through sudo when not root.
define install
	echo "quern: installing with apt for $(2): $(1)"; \
	if ! command -v apt-get >/dev/null; then \
	  echo "quern: no apt-get here; install these (Debian's names) and try again: $(1)" >&2; exit 1; fi; \
	sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
	if test "$$sudo" && ! command -v sudo >/dev/null; then \
	  echo "quern: neither root nor sudo; as root, run: apt-get install $(1)" >&2; exit 1; fi; \
	$$sudo apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(1) >/dev/null
endef

deps:
	@if ! { command -v $(PKG_CONFIG) && command -v $(CC) && $(PKG_CONFIG) --exists $(packages); } >/dev/null 2>&1; then \
	  $(call install,$(apt_build),the build and its tests); fi
	@if ! echo 'int main(void) { return 0; }' | $(CC) $(openmp) -x c - -o /dev/null 2>/dev/null; then \
	  case "$(CC)" in *clang*) $(call install,$(apt_clang),clang with OpenMP);; \
	    *) echo "quern: $(CC) $(openmp) does not work here" >&2; exit 1;; esac; fi

deps-cross: deps
	@for t in aarch64-linux-gnu-gcc qemu-aarch64 qemu-x86_64; do \
	  command -v $$t >/dev/null || { $(call install,$(apt_cross),the test on other processors); break; }; done
	@$(has_simde) || ($(call install,libsimde-dev,the test of AVX-512 without it)) || :

deps-lint: deps
	@for t in $(CLANG_FORMAT) $(CLANG_TIDY) $(CLANG) mandoc shellcheck; do \
	  command -v $$t >/dev/null || { $(call install,$(apt_lint),lint); break; }; done

# ---- tests --------------------------------------------------------------------------
# Every test by itself, as many at once as make has jobs.
check: deps
	@$(MAKE) $(jobs) --no-print-directory config=$(config) B=$(B) run-tests

test_runs = $(tests:=.run)
replays = $(patsubst fuzz_%,replay-%,$(fuzzers))
run-tests: check-manifest $(test_runs) $(replays) cli-tests
run-tests: export OMP_WAIT_POLICY = passive # threads that wait leave the others their core

check-manifest:
	@sh tests/data/check-manifest.sh
$(test_runs): %.run: % force
	@$<
$(replays): replay-%: $(B)/tests/fuzz/fuzz_% force
	@$< tests/fuzz/corpus/$*
cli-tests: $(program)
	@QUERN=$(program) sh tests/cli/run

# docs/families.md, with the figures of all golden checkpoints.
families: $(B)/tests/test_families
	QUERN_FAMILIES_TABLE=docs/families.md $<

demo: deps
	@$(MAKE) $(jobs) --no-print-directory config=$(config) B=$(B) all
	@QUERN=$(program) sh tests/demo/demo

bench: all
	$(program) bench

cross: deps-cross
	@$(MAKE) --no-print-directory B=build/native openmp= build/native/fingerprint
	@$(MAKE) --no-print-directory CC=aarch64-linux-gnu-gcc B=build/aarch64 openmp= build/aarch64/fingerprint
	@$(MAKE) --no-print-directory emulated
	@sh tests/cross/run build/native/fingerprint build/aarch64/fingerprint $(B)/emulated/fingerprint
	@$(MAKE) --no-print-directory cross-program

# The AVX-512 level on a processor with AVX2: the tests that compare levels.
has_simde = echo '\#include <simde/x86/avx512.h>' | $(CC) -fsyntax-only -x c - 2>/dev/null
emulated_tests := $(addprefix $(B)/emulated/test_,kernels kernels_values codecs awkward_rows gemm panel session compact_base second_moments)
emulated:
	@if test $(machine) != x86_64; then echo 'skip: AVX-512 is emulated on x86-64 only'; \
	elif ! $(has_simde); then echo 'skip: AVX-512 is not emulated without SIMDe (libsimde-dev)'; \
	else $(MAKE) --no-print-directory run-emulated; fi

run-emulated: $(emulated_tests:=.run) $(B)/emulated/fingerprint
run-emulated: export OMP_WAIT_POLICY = passive
$(emulated_tests:=.run): %.run: % force
	@$<

# The whole program on aarch64, and whatever else was built here, against this build.
arm64_root := build/arm64-root
arm64_packages := $(filter lib%-dev zlib1g-dev,$(apt_build)) libgomp1
cross-program: all
	@sh tests/cross/arm64-root.sh $(arm64_root) $(arm64_packages)
	@$(MAKE) --no-print-directory CC='aarch64-linux-gnu-gcc --sysroot=$(CURDIR)/$(arm64_root)' B=build/aarch64-program all
	@sh tests/cross/same-bytes.sh $(program) $(wildcard build/clang/quern build/asan/quern) \
	  'qemu-aarch64 -L $(arm64_root) build/aarch64-program/quern'

$(B)/fingerprint: $(B)/tests/cross/fingerprint.o $(B)/tests/support/random.o $(B)/libkernels.a
	$(call say,LINK,$@)$(CC) $(base) $(CFLAGS) $(LDFLAGS) -static $^ -o $@ -lm

# Everything below the fuzz targets is instrumented, too.
fuzz:
	@$(MAKE) --no-print-directory CC=$(CLANG) config=fuzz B=build/fuzz openmp= fuzz-binaries

fuzz-binaries: $(addprefix $(B)/,$(fuzzers))
$(B)/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/libformats.a $(B)/libkernels.a
	$(call say,LINK,$@)$(CC) $(base) -fsanitize=fuzzer $(CFLAGS) $(LDFLAGS) $^ -o $@ $(lib_ldlibs)

# ---- lint -----------------------------------------------------------------------------
may_kernels  := kernels
may_formats  := formats kernels
may_quant    := quant formats kernels
may_validate := validate quant formats kernels
ours = $(filter-out $(other_isa:=/%),$(shell find $(layers) tools -name '*.h'))
ours_c = $(call sources,$(layers) tools)
written = $(shell find $(layers) tools tests -name '*.[ch]')

lint: deps-lint
	@$(MAKE) --no-print-directory config=$(config) B=$(B) run-lint

run-lint: $(libs)
	@bad=0; for f in $(layers); do \
	  case $$f in kernels) ok='$(may_kernels)';; formats) ok='$(may_formats)';; \
	    quant) ok='$(may_quant)';; validate) ok='$(may_validate)';; esac; \
	  grep -rn '^#include "' $$f | grep -vE "\"($$(echo $$ok | tr ' ' '|'))/" && bad=1; \
	done; test $$bad = 0 || { echo 'lint: an include points upwards'; exit 1; }
	@! nm -A -g --defined-only $(libs) 2>/dev/null | grep ' [TDRBC] ' | grep -v ' qn_' \
	  || { echo 'lint: a global name lacks the qn_ prefix'; exit 1; }
	@for h in $(ours); do \
	  case $$h in kernels/x86/*) isa='$(flags_avx2)';; *) isa=;; esac; \
	  $(CC) $(base) $(lib_cflags) $$isa -w -fsyntax-only -x c $$h || \
	    { echo "lint: $$h does not stand alone"; exit 1; }; done
	@$(CLANG_FORMAT) --dry-run --Werror $(written)
	@! grep -rnP '[\t ]+$$' $(written) || { echo 'lint: trailing blanks'; exit 1; }
	@echo $(filter-out kernels/x86/% kernels/arm/%,$(ours_c)) | xargs -P 2 -n 1 sh -c \
	  '$(CLANG_TIDY) --quiet --warnings-as-errors="*" "$$@" -- $(filter-out -fopenmp,$(base)) $(lib_cflags) 2>/dev/null' tidy
	@! ls docs/man/*.1 >/dev/null 2>&1 || mandoc -T lint -W warning docs/man/*.[15]
	@shellcheck -s sh $(shell find tests -type f \( -name run -o -name '*.sh' -o -name demo \))
	@shellcheck -s sh -e SC2154,SC2086,SC3045 tests/cli/*.test
	@shellcheck .ci/run
	@echo 'lint: fine'

format:
	$(CLANG_FORMAT) -i $(written)

prefix ?= /usr/local
install: all
	install -d $(DESTDIR)$(prefix)/bin $(DESTDIR)$(prefix)/share/man/man1
	install $(program) $(DESTDIR)$(prefix)/bin
	@for m in docs/man/*.1; do test ! -e $$m || install -m 644 $$m $(DESTDIR)$(prefix)/share/man/man1; done

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.PHONY: all check run-tests check-manifest cli-tests families demo bench cross emulated run-emulated fuzz fuzz-binaries lint run-lint format install clean deps deps-lint deps-cross force
.SECONDARY:
