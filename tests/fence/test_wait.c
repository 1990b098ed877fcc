// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Makes tasks of a certain name slow in going to sleep: between their last look at what they wait
 * for and their place in the list of those to be woken. A wake-up that can be lost is lost then.
 * How often that was done is in /sys/module/test_wait/parameters/slowed.
 */
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>

static char *comm = "slow-wait";
module_param(comm, charp, 0444);
static unsigned int delay_ms = 500;
module_param(delay_ms, uint, 0444);
static unsigned int slowed;
module_param(slowed, uint, 0444);

static int before_sleep(struct kprobe *probe, struct pt_regs *regs)
{
	if (!strcmp(current->comm, comm)) {
		mdelay(delay_ms);
		slowed++;
	}
	return 0;
}

/* What a CondVar of the kernel's Rust calls. */
static struct kprobe probe = {
	.symbol_name = "prepare_to_wait_exclusive",
	.pre_handler = before_sleep,
};

static int __init test_wait_init(void)
{
	return register_kprobe(&probe);
}

static void __exit test_wait_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(test_wait_init);
module_exit(test_wait_exit);
MODULE_DESCRIPTION("Makes tasks slow in going to sleep");
MODULE_LICENSE("Dual BSD/GPL");
