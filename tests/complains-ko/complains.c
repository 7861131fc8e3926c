// SPDX-License-Identifier: GPL-2.0-only
// A module of one's own that is loaded, and of which the kernel complains.

#include <linux/bug.h>
#include <linux/module.h>

static int __init complain(void)
{
	WARN_ON(1);
	return 0;
}
module_init(complain);

MODULE_DESCRIPTION("complains");
MODULE_LICENSE("GPL");
