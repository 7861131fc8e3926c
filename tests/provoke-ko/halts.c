// SPDX-License-Identifier: GPL-2.0-only
/* Takes no interrupt any more: hangs as a deadlock does, and costs no time. */

#include <linux/irqflags.h>
#include <linux/module.h>

static int __init halts_init(void)
{
	local_irq_disable();
	for (;;)
		halt();
	return 0;
}
module_init(halts_init);

static void __exit halts_exit(void)
{
}
module_exit(halts_exit);

MODULE_AUTHOR("Rapidswap");
MODULE_DESCRIPTION("Hangs");
MODULE_LICENSE("GPL");
