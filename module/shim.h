/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Rust cannot call: inline functions, macros and static tables of C.
 * Nothing here decides anything.
 */
#ifndef REMOTESWAP_SHIM_H
#define REMOTESWAP_SHIM_H

#include <linux/dma-direction.h>
#include <linux/types.h>

struct completion;
struct delayed_work;
struct ib_device;
struct ib_qp;
struct ib_send_wr;
struct page;
struct semaphore;
struct seq_file;
struct work_struct;

/* Module parameters as they were given; NULL where none was. */
struct remoteswap_params {
	const char *sip;
	const char *sport;
	const char *rmsize;
	const char *store_depth;
	const char *store_timeout_ms;
	const char *load_timeout_ms;
	const char *keepalive_ms;
};

void remoteswap_shim_params(struct remoteswap_params *params);

int remoteswap_shim_post_send(struct ib_qp *qp, const struct ib_send_wr *wr);
int remoteswap_shim_to_error(struct ib_qp *qp);
u64 remoteswap_shim_map_page(struct ib_device *device, struct page *page,
			     unsigned long offset, size_t len,
			     enum dma_data_direction direction);
int remoteswap_shim_map_error(struct ib_device *device, u64 addr);
void remoteswap_shim_unmap_page(struct ib_device *device, u64 addr, size_t len,
				enum dma_data_direction direction);

bool remoteswap_shim_in_swap_cache(struct page *page);

void remoteswap_shim_init_completion(struct completion *done);
void remoteswap_shim_init_semaphore(struct semaphore *sem, int count);
void remoteswap_shim_init_work(struct delayed_work *work,
			       void (*run)(struct work_struct *work));
unsigned int remoteswap_shim_noreclaim_save(void);
void remoteswap_shim_noreclaim_restore(unsigned int flags);

void remoteswap_shim_debugfs_add(void);
void remoteswap_shim_debugfs_remove(void);

/* The other way: what debugfs calls, defined in verbs/debugfs.rs. */
int remoteswap_status_show(struct seq_file *file);
int remoteswap_latency_show(struct seq_file *file);
int remoteswap_histograms_show(struct seq_file *file);
int remoteswap_selftest_show(struct seq_file *file);
int remoteswap_selftest_run(unsigned int reads);

#endif
