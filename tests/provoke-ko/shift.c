// SPDX-License-Identifier: GPL-2.0-only
/* A shift by more bits than there are, which Rust would not compile. */

#include <linux/module.h>

static volatile int bits = 33;

static int __init shift_init(void)
{
	pr_info("%d\n", 1 << bits);
	return 0;
}
module_init(shift_init);

static void __exit shift_exit(void)
{
}
module_exit(shift_exit);

MODULE_AUTHOR("Rapidswap");
MODULE_DESCRIPTION("Shifts too far");
MODULE_LICENSE("GPL");
