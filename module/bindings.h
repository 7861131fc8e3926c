/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bindgen reads for remoteswap.ko. Only the items on the allow-list in
 * Kbuild become Rust; the module's unsafe code in verbs/ is their only user.
 */
#include <linux/completion.h>
#include <linux/dma-direction.h>
#include <linux/errname.h>
#include <linux/in.h>
#include <linux/kstrtox.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/remote_swap.h>
#include <linux/semaphore.h>
#include <linux/seq_file.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#include "shim.h"
