// SPDX-License-Identifier: GPL-2.0-only
/* A pointer that RCU guards, read without RCU, which Rust would not compile. */

#include <linux/module.h>
#include <linux/rcupdate.h>

static int __rcu *guarded;

static int __init suspicious_rcu_init(void)
{
	pr_info("%p\n", rcu_dereference(guarded));
	return 0;
}
module_init(suspicious_rcu_init);

static void __exit suspicious_rcu_exit(void)
{
}
module_exit(suspicious_rcu_exit);

MODULE_AUTHOR("Rapidswap");
MODULE_DESCRIPTION("Reads what RCU guards without RCU");
MODULE_LICENSE("GPL");
