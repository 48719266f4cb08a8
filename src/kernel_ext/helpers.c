// SPDX-License-Identifier: GPL-2.0
/*
 * What the Rust side cannot call, because it is inline or its header is not in
 * the kernel's bindings, as rust/helpers/ in the kernel; and the one loop that
 * has to be in it, for each of a thousand page-table entries.
 */
#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>

unsigned long rdma_helper_sg_pfn(struct scatterlist *sg);
struct file *rdma_helper_anon_file(void);
struct user_struct *rdma_helper_current_user(void);
unsigned long rdma_helper_memlock_limit(void);
bool rdma_helper_dies(void);
void rdma_helper_freeze(void);
bool rdma_helper_populates(unsigned long flags);
vm_flags_t rdma_helper_vma_flags(const struct vm_area_desc *desc);
void rdma_helper_vma_rules(struct vm_area_desc *desc);
bool rdma_helper_has_page_table(const struct vm_fault *vmf);
int rdma_helper_fill(struct vm_area_struct *vma, unsigned long address,
		     unsigned long pfn, unsigned long pages);

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

/* wait.rs */
void rdma_helper_freeze(void)
{
	if (!try_to_freeze())
		return;
	/* A signal that has come as well stays. */
	spin_lock_irq(&current->sighand->siglock);
	recalc_sigpending();
	spin_unlock_irq(&current->sighand->siglock);
}

/* vma.rs */
bool rdma_helper_populates(unsigned long flags)
{
	return (flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE;
}

/* vma.rs */
vm_flags_t rdma_helper_vma_flags(const struct vm_area_desc *desc)
{
	return vma_flags_to_legacy(desc->vma_flags);
}

/* vma.rs */
void rdma_helper_vma_rules(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_PFNMAP_BIT, VMA_IO_BIT,
			   VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	vma_desc_clear_flags(desc, VMA_MAYEXEC_BIT);
}

/* vma.rs */
bool rdma_helper_has_page_table(const struct vm_fault *vmf)
{
	pmd_t pmd = pmdp_get_lockless(vmf->pmd);

	return !pmd_none(pmd) && !pmd_leaf(pmd);
}

struct rdma_fill {
	struct mm_struct *mm;
	pte_t entry;
	unsigned long pages;
};

/* Called for the first entry, with the lock of its page table held. */
static int rdma_fill(pte_t *pte, unsigned long address, void *data)
{
	struct rdma_fill *fill = data;

	for (; fill->pages; fill->pages--) {
		if (pte_none(ptep_get(pte)))
			set_pte_at(fill->mm, address, pte, fill->entry);
		fill->entry = pte_next_pfn(fill->entry);
		address += PAGE_SIZE;
		pte++;
	}
	return 0;
}

/*
 * vma.rs. All of the range must be below one page table. A loop for each entry
 * takes a tenth of the instructions of vmf_insert_pfn().
 */
int rdma_helper_fill(struct vm_area_struct *vma, unsigned long address,
		     unsigned long pfn, unsigned long pages)
{
	struct rdma_fill fill = {
		.mm = vma->vm_mm,
		.entry = pte_mkspecial(pfn_pte(pfn, vma->vm_page_prot)),
		.pages = pages,
	};

	return apply_to_page_range(vma->vm_mm, address, PAGE_SIZE, rdma_fill,
				   &fill);
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

/* memlock.rs */
struct user_struct *rdma_helper_current_user(void)
{
	return get_current_user();
}

/* memlock.rs */
unsigned long rdma_helper_memlock_limit(void)
{
	return rlimit(RLIMIT_MEMLOCK);
}
