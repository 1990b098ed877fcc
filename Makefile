# SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
# The commands people type. The kernel half is built by kbuild (see Kbuild), the host half by cargo.

VM := tests/vm
MODULE_DIR := out/module
XTASK := $(VM)/env cargo xtask

.PHONY: all help prepare tools module daemon vm-run vm-shell demo bench check test test-proxy \
	test-kernel-debug clean distclean

all: module daemon

help:
	@echo 'make                 build virtio_v4l2.ko (out/module) and virtio-v4l2d (target/release)'
	@echo 'make demo            encode a clip in a guest with three programs; out/demo [INPUT=clip]'
	@echo 'make bench           what a frame costs: counts, latency, throughput; out/bench [PAIRS=n]'
	@echo 'make check           format, lints, docs, unit and wire tests: what needs no VM'
	@echo 'make test            every check and test'
	@echo 'make test-proxy      devices of a host in a guest, and what v4l2-compliance says of them'
	@echo 'make test-kernel-debug  the guest driver on a kernel that looks for mistakes'
	@echo 'make vm-shell        a login shell in a guest with /dev/video0'
	@echo 'make vm-run SCRIPT=f run f in a guest [FILES="a b"] [MODULE=0] [SOCKET=path] …'
	@echo 'make prepare         make kernel tree, guest and QEMU in the cache, as the others do'
	@echo 'make clean           remove build products; make distclean: the cache, too'

prepare:
	@$(VM)/prepare

# What building the host half and checking it needs.
tools:
	@$(VM)/prepare --tools

module: prepare
	@OUT=$(MODULE_DIR) $(VM)/kmake .

daemon: prepare
	@$(VM)/env cargo build --release --locked -p virtio-v4l2d

# What a person gives on make's command line (KERNEL, ACCEL, OUT, ...) is in the environment of what
# it runs.
vm-run: all
	@$(if $(SCRIPT),,$(error say which script: make vm-run SCRIPT=file))$(XTASK) vm-run \
		$(SCRIPT) $(FILES)

vm-shell: all
	@$(XTASK) vm-shell

demo: all
	@$(XTASK) demo

bench: all
	@tests/guest/build
	@$(XTASK) bench

check: tools
	@$(XTASK) check

test: prepare
	@$(XTASK) test

test-proxy: all
	@tests/guest/build
	@PARTS=all LIMIT=1500 PROXY_TIMEOUT=3600 $(XTASK) test proxy

test-kernel-debug: daemon
	@tests/guest/build
	@$(XTASK) test debug

clean:
	rm -rf out target

distclean: clean
	rm -rf "$${XDG_CACHE_HOME:-$$HOME/.cache}/virtio-v4l2"
