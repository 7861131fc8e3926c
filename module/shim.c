// SPDX-License-Identifier: GPL-2.0-only
/*
 * What Rust cannot call: inline functions, macros and static tables of C.
 * Nothing here decides anything. Takes no lock and allocates nothing but the
 * debugfs entries, at load.
 */

#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/error-injection.h>
#include <linux/module.h>
#include <linux/page-flags.h>
#include <linux/sched/mm.h>
#include <linux/semaphore.h>
#include <linux/seq_file.h>
#include <linux/workqueue.h>
#include <rdma/ib_verbs.h>

#include "shim.h"

/*
 * All are strings, so that every value is judged in one place and a bad one is
 * answered with a line that says what to give instead.
 */
static char *sip;
module_param(sip, charp, 0444);
MODULE_PARM_DESC(sip, "IPv4 address of the memory server");

static char *sport;
module_param(sport, charp, 0444);
MODULE_PARM_DESC(sport, "port of the memory server (default 9400)");

static char *rmsize;
module_param(rmsize, charp, 0444);
MODULE_PARM_DESC(rmsize, "memory to ask for, suffixes K M G T, a bare number is GiB (default 0: all the server has)");

static char *store_depth;
module_param(store_depth, charp, 0444);
MODULE_PARM_DESC(store_depth, "stores that may be under way at a time; with 1 each ends before the next is posted (default 64)");

static char *store_timeout_ms;
module_param(store_timeout_ms, charp, 0444);
MODULE_PARM_DESC(store_timeout_ms, "a store that takes longer ends the session (default 3000)");

static char *load_timeout_ms;
module_param(load_timeout_ms, charp, 0444);
MODULE_PARM_DESC(load_timeout_ms, "a load waits this long for a lost server to return (default 90000)");

static char *keepalive_ms;
module_param(keepalive_ms, charp, 0444);
MODULE_PARM_DESC(keepalive_ms, "how often the server is asked whether it lives (default 1000)");

void remoteswap_shim_params(struct remoteswap_params *params)
{
	*params = (struct remoteswap_params) {
		.sip = sip,
		.sport = sport,
		.rmsize = rmsize,
		.store_depth = store_depth,
		.store_timeout_ms = store_timeout_ms,
		.load_timeout_ms = load_timeout_ms,
		.keepalive_ms = keepalive_ms,
	};
}

int remoteswap_shim_post_send(struct ib_qp *qp, const struct ib_send_wr *wr)
{
	return ib_post_send(qp, wr, NULL);
}
ALLOW_ERROR_INJECTION(remoteswap_shim_post_send, ERRNO);

int remoteswap_shim_to_error(struct ib_qp *qp)
{
	struct ib_qp_attr attr = { .qp_state = IB_QPS_ERR };

	return ib_modify_qp(qp, &attr, IB_QP_STATE);
}
ALLOW_ERROR_INJECTION(remoteswap_shim_to_error, ERRNO);

u64 remoteswap_shim_map_page(struct ib_device *device, struct page *page,
			     unsigned long offset, size_t len,
			     enum dma_data_direction direction)
{
	return ib_dma_map_page(device, page, offset, len, direction);
}

int remoteswap_shim_map_error(struct ib_device *device, u64 addr)
{
	return ib_dma_mapping_error(device, addr);
}
ALLOW_ERROR_INJECTION(remoteswap_shim_map_error, TRUE);

void remoteswap_shim_unmap_page(struct ib_device *device, u64 addr, size_t len,
				enum dma_data_direction direction)
{
	ib_dma_unmap_page(device, addr, len, direction);
}

bool remoteswap_shim_in_swap_cache(struct page *page)
{
	return folio_test_swapcache(page_folio(page));
}

void remoteswap_shim_init_completion(struct completion *done)
{
	init_completion(done);
}

void remoteswap_shim_init_semaphore(struct semaphore *sem, int count)
{
	sema_init(sem, count);
}

void remoteswap_shim_init_work(struct delayed_work *work,
			       void (*run)(struct work_struct *work))
{
	INIT_DELAYED_WORK(work, run);
}

unsigned int remoteswap_shim_noreclaim_save(void)
{
	return memalloc_noreclaim_save();
}

void remoteswap_shim_noreclaim_restore(unsigned int flags)
{
	memalloc_noreclaim_restore(flags);
}

static int status_show(struct seq_file *file, void *data)
{
	return remoteswap_status_show(file);
}
DEFINE_SHOW_ATTRIBUTE(status);

static int latency_show(struct seq_file *file, void *data)
{
	return remoteswap_latency_show(file);
}
DEFINE_SHOW_ATTRIBUTE(latency);

static int histograms_show(struct seq_file *file, void *data)
{
	return remoteswap_histograms_show(file);
}
DEFINE_SHOW_ATTRIBUTE(histograms);

static int selftest_show(struct seq_file *file, void *data)
{
	return remoteswap_selftest_show(file);
}

static int selftest_open(struct inode *inode, struct file *file)
{
	return single_open(file, selftest_show, NULL);
}

static ssize_t selftest_write(struct file *file, const char __user *buf,
			      size_t count, loff_t *pos)
{
	unsigned int reads;
	int err;

	err = kstrtouint_from_user(buf, count, 0, &reads);
	if (!err)
		err = remoteswap_selftest_run(reads);

	return err ? err : count;
}

static const struct file_operations selftest_fops = {
	.owner = THIS_MODULE,
	.open = selftest_open,
	.read = seq_read,
	.write = selftest_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static struct dentry *debugfs;

void remoteswap_shim_debugfs_add(void)
{
	/* As everywhere: a kernel without debugfs is no reason to fail. */
	debugfs = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("status", 0444, debugfs, NULL, &status_fops);
	debugfs_create_file("latency", 0444, debugfs, NULL, &latency_fops);
	debugfs_create_file("histograms", 0444, debugfs, NULL,
			    &histograms_fops);
	debugfs_create_file("selftest", 0600, debugfs, NULL, &selftest_fops);
}

void remoteswap_shim_debugfs_remove(void)
{
	debugfs_remove_recursive(debugfs);
}
