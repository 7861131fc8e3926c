// SPDX-License-Identifier: GPL-2.0-only
/* A warning in the timer's interrupt, where Rust has no timers yet. */

#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/module.h>

static DECLARE_COMPLETION(warned);
static struct hrtimer timer;

static enum hrtimer_restart warn(struct hrtimer *unused)
{
	WARN(in_hardirq(), "in an interrupt\n");
	complete(&warned);
	return HRTIMER_NORESTART;
}

static int __init interrupt_init(void)
{
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer.function = warn;
	hrtimer_start(&timer, ms_to_ktime(10), HRTIMER_MODE_REL);
	wait_for_completion(&warned);
	return 0;
}
module_init(interrupt_init);

static void __exit interrupt_exit(void)
{
	hrtimer_cancel(&timer);
}
module_exit(interrupt_exit);

MODULE_AUTHOR("Rapidswap");
MODULE_DESCRIPTION("Warns in an interrupt");
MODULE_LICENSE("GPL");
