// SPDX-License-Identifier: GPL-2.0-only
// A module of one's own that says so when it is loaded, and is not.

#include <linux/module.h>

static int __init greet(void)
{
	pr_warn("greetings from unwilling\n");
	return -EINVAL;
}
module_init(greet);

MODULE_DESCRIPTION("greets");
MODULE_LICENSE("GPL");
