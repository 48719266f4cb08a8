// SPDX-License-Identifier: GPL-2.0
/*
 * What the Rust side cannot call, because it is inline or its header is not in
 * the kernel's bindings. As rust/helpers/ in the kernel: no logic in here.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>

unsigned long rdma_helper_sg_pfn(struct scatterlist *sg);
struct file *rdma_helper_anon_file(void);
bool rdma_helper_dies(void);

/* coherent.rs */
unsigned long rdma_helper_sg_pfn(struct scatterlist *sg)
{
	return page_to_pfn(sg_page(sg));
}

/* signal.rs */
bool rdma_helper_dies(void)
{
	return fatal_signal_pending(current);
}

/*
 * mapping.rs. The operations are the kernel's own: putting the file can take
 * until after this module is gone.
 */
struct file *rdma_helper_anon_file(void)
{
	return anon_inode_create_getfile("[rdma]", &generic_ro_fops, NULL, O_RDWR,
					 NULL);
}
