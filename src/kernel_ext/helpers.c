// SPDX-License-Identifier: GPL-2.0
/*
 * Functions that Rust cannot call directly, because they are inline or their
 * header is not in the kernel's bindings, like rust/helpers/ in the kernel. The
 * comment of each helper names the Rust file that uses it. The loop over
 * page-table entries is in C, because it uses inline functions for each entry.
 */
#include <linux/anon_inodes.h>
#include <linux/async.h>
#include <linux/cc_platform.h>
#include <linux/cred.h>
#include <linux/dma-buf.h>
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/poison.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/swiotlb.h>
#include <linux/time_namespace.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>

/* enabled.rs */
void rdma_helper_disable_relaxed_ordering(struct pci_dev *pdev)
{
	pcie_capability_clear_word(pdev, PCI_EXP_DEVCTL,
				   PCI_EXP_DEVCTL_RELAX_EN);
}

/* coherent.rs */
unsigned long rdma_helper_sg_pfn(struct scatterlist *sg)
{
	return page_to_pfn(sg_page(sg));
}

/* coherent.rs */
bool rdma_helper_uses_dma_iommu(struct device *dev)
{
	return use_dma_iommu(dev);
}

/*
 * reference.rs: a reference to the file of a dma-buf, or NULL. When the file is
 * released, the dma-buf is removed from the kernel's list, before the file is freed.
 * If it is listed here, the memory of the file stays until the end of the RCU section.
 */
struct file *rdma_helper_dma_buf_file(struct dma_buf *dma_buf)
{
	struct file *file = NULL;

	rcu_read_lock();
	if (READ_ONCE(dma_buf->list_node.next) != LIST_POISON1)
		file = get_file_active(&dma_buf->file);
	rcu_read_unlock();
	return file;
}

/*
 * coherent.rs: memcpy() for memory that a device or a program accesses concurrently.
 * Such an access is undefined in Rust, and not in the C of the kernel.
 */
void rdma_helper_copy(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
}

/*
 * dma_table.rs. Returns whether the device can access these pages. If it cannot,
 * dma_map_sgtable() would print a warning with a backtrace. (A device without a
 * mask, which another driver may import a dma-buf for, has no DMA.)
 */
bool rdma_helper_device_reaches(struct device *dev, struct sg_table *table)
{
	struct scatterlist *sg;
	u64 limit;
	int i;

	if (!dev->dma_mask)
		return false;
	limit = min_not_zero(*dev->dma_mask, dev->bus_dma_limit);
	if (use_dma_iommu(dev))
		return true;
	for_each_sgtable_sg(table, sg, i) {
		if (phys_to_dma(dev, sg_phys(sg)) + sg->length - 1 > limit)
			return false;
	}
	return true;
}

/* dma_table.rs */
unsigned int rdma_helper_max_segment(struct device *dev)
{
	return dma_get_max_seg_size(dev);
}

/* import.rs. Returns whether no memory needs a bounce buffer. */
bool rdma_helper_reaches_all_memory(struct device *dev)
{
	if (use_dma_iommu(dev))
		return true;
	return !dma_addressing_limited(dev) && !is_swiotlb_force_bounce(dev);
}

/*
 * pinned.rs. Looks at the first of `count` pinned pages. Stores the first frame of its
 * compound page and the number of pages of that, which is 1 if it is in none. Returns
 * how many pages, from the first on, continue it without a gap, or are in none as
 * well. A loop in C, because its functions are inline.
 */
unsigned long rdma_helper_compound_part(struct page **pages, unsigned long count,
					unsigned long *pfn, unsigned long *size)
{
	struct folio *folio = page_folio(pages[0]);
	unsigned long index, part = 1;

	*pfn = folio_pfn(folio);
	*size = folio_nr_pages(folio);
	if (*size == 1) {
		while (part < count && !PageCompound(pages[part]))
			part++;
	} else {
		index = folio_page_idx(folio, pages[0]);
		count = min(count, *size - index);
		while (part < count && pages[part] == folio_page(folio, index + part))
			part++;
	}
	return part;
}

/* export.rs. Returns NULL if the frame has no struct page. */
struct page *rdma_helper_page(unsigned long pfn)
{
	return pfn_valid(pfn) ? pfn_to_page(pfn) : NULL;
}

/* export.rs */
void *rdma_helper_vmap(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

/* export.rs */
void rdma_helper_vunmap(const void *address)
{
	vunmap(address);
}

/* dma_mask.rs */
bool rdma_helper_memory_is_encrypted(void)
{
	return cc_platform_has(CC_ATTR_MEM_ENCRYPT);
}

/* dma_mask.rs */
bool rdma_helper_dma_is_coherent(struct device *dev)
{
	return dev_is_dma_coherent(dev);
}

/* pci_driver.rs */
void rdma_helper_wait_for_async_probes(void)
{
	async_synchronize_full();
}

/* work.rs */
unsigned long rdma_helper_jiffies(void)
{
	return jiffies;
}

/* wait.rs */
bool rdma_helper_has_sleeper(struct wait_queue_head *head)
{
	return wq_has_sleeper(head);
}

/* signal.rs */
bool rdma_helper_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

enum rdma_pending_signal { RDMA_PENDING_NOTHING, RDMA_PENDING_STOP, RDMA_PENDING_SIGNAL };

/*
 * Returns the effect of a signal that is not blocked. A signal that would stop a
 * traced process is reported to the tracer first, and SIGSTOP is also sent to
 * attach a tracer, so it does not count as a stop.
 */
static enum rdma_pending_signal rdma_signal_effect(int sig)
{
	__sighandler_t handler = current->sighand->action[sig - 1].sa.sa_handler;

	if (handler == SIG_IGN)
		return RDMA_PENDING_NOTHING;
	if (handler != SIG_DFL)
		return RDMA_PENDING_SIGNAL;
	if (sig_kernel_ignore(sig))
		return RDMA_PENDING_NOTHING;
	if (sig_kernel_stop(sig))
		return current->ptrace ? RDMA_PENDING_NOTHING : RDMA_PENDING_STOP;
	return RDMA_PENDING_SIGNAL;
}

/* The caller must hold the siglock. */
static enum rdma_pending_signal rdma_pending_signal(void)
{
	enum rdma_pending_signal effect = RDMA_PENDING_NOTHING;
	sigset_t set;
	int sig;

	/* io_uring cancels the work of its worker threads this way. */
	if ((current->flags & PF_IO_WORKER) &&
	    test_thread_flag(TIF_NOTIFY_SIGNAL))
		return RDMA_PENDING_SIGNAL;
	/* Another thread has dequeued the signal that stops the process. */
	if (!current->ptrace && (current->jobctl & JOBCTL_STOP_PENDING))
		effect = RDMA_PENDING_STOP;
	sigorsets(&set, &current->pending.signal,
		  &current->signal->shared_pending.signal);
	sigandnsets(&set, &set, &current->blocked);
	for (sig = 1; sig <= _NSIG && !sigisemptyset(&set); sig++) {
		if (!sigismember(&set, sig))
			continue;
		sigdelset(&set, sig);
		effect = max(effect, rdma_signal_effect(sig));
	}
	return effect;
}

/* signal.rs */
int rdma_helper_pending_signal(void)
{
	enum rdma_pending_signal pending;

	spin_lock_irq(&current->sighand->siglock);
	pending = rdma_pending_signal();
	spin_unlock_irq(&current->sighand->siglock);
	return pending;
}

/* signal.rs */
unsigned int rdma_helper_defer_notifications(void)
{
	unsigned int cleared = 0;

	if (test_thread_flag(TIF_NOTIFY_SIGNAL)) {
		clear_notify_signal();
		cleared |= BIT(0);
	}
	spin_lock_irq(&current->sighand->siglock);
	if (test_thread_flag(TIF_SIGPENDING) &&
	    rdma_pending_signal() == RDMA_PENDING_NOTHING) {
		clear_thread_flag(TIF_SIGPENDING);
		cleared |= BIT(1);
	}
	spin_unlock_irq(&current->sighand->siglock);
	return cleared;
}

/* signal.rs */
void rdma_helper_restore_notifications(unsigned int cleared)
{
	if (cleared & BIT(0))
		set_thread_flag(TIF_NOTIFY_SIGNAL);
	if (cleared & BIT(1))
		set_thread_flag(TIF_SIGPENDING);
}

/* uaccess.rs */
int rdma_helper_copy_struct_from_user(void *to, size_t to_size,
				      const void __user *from, size_t from_size)
{
	return copy_struct_from_user(to, to_size, from, from_size);
}

/* uaccess.rs */
int rdma_helper_copy_struct_to_user(void __user *to, size_t to_size,
				    const void *from, size_t from_size)
{
	return copy_struct_to_user(to, to_size, from, from_size, NULL);
}

/* vma.rs */
vm_flags_t rdma_helper_get_vma_flags(const struct vm_area_desc *desc)
{
	return vma_flags_to_legacy(desc->vma_flags);
}

/*
 * vma.rs. VM_SHARED is not set for a mapping of a file that is open for reading
 * only; VM_MAYSHARE is.
 */
bool rdma_helper_is_shared(vm_flags_t flags)
{
	return flags & VM_MAYSHARE;
}

/* vma.rs */
void rdma_helper_set_vma_flags(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_PFNMAP_BIT, VMA_IO_BIT,
			   VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	vma_desc_clear_flags(desc, VMA_MAYEXEC_BIT);
}

/* vma/shared_ring.rs */
void rdma_helper_set_ring_vma_flags(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	vma_desc_clear_flags(desc, VMA_MAYEXEC_BIT);
}

/* vma/shared_ring.rs */
void rdma_helper_get_page(struct page *page)
{
	get_page(page);
}

/* vma.rs */
void rdma_helper_set_flags_of(struct vm_area_struct *vma)
{
	vm_flags_mod(vma, VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_DONTDUMP,
		     VM_MAYEXEC | VM_MIXEDMAP);
}

/* vma/fault.rs */
bool rdma_helper_has_page_table(const struct vm_fault *vmf)
{
	pmd_t pmd = pmdp_get_lockless(vmf->pmd);

	return !pmd_none(pmd) && !pmd_leaf(pmd);
}

/* vma/fault.rs */
bool rdma_helper_has_huge_page(const struct vm_fault *vmf)
{
	return pmd_leaf(pmdp_get_lockless(vmf->pmd));
}

/*
 * vma/fault.rs. Returns whether new entries of a mapping allow writes. Such an
 * entry is inserted dirty and young, because a CPU without hardware management
 * of these bits (arm64 before Armv8.1) would fault again at the first write. An
 * entry that allows no writes is not: a write to it is to be noticed (soft-dirty).
 */
bool rdma_helper_maps_writable(const struct vm_fault *vmf)
{
	return pte_write(pfn_pte(0, vmf->vma->vm_page_prot));
}

struct rdma_insert {
	struct mm_struct *mm;
	pte_t entry;
	unsigned long pages;
};

/*
 * Inserts all entries, from the first one on. The caller must hold the lock of
 * their page table.
 */
static int rdma_insert(pte_t *pte, unsigned long address, void *data)
{
	struct rdma_insert *insert = data;

	for (; insert->pages; insert->pages--) {
		/*
		 * The special bit is set here, where the compiler sees it: for
		 * an entry without it, set_pte_at() of arm64 calls a function
		 * that is not exported (mte_sync_tags).
		 */
		if (pte_none(ptep_get(pte)))
			set_pte_at(insert->mm, address, pte,
				   pte_mkspecial(insert->entry));
		insert->entry = pte_next_pfn(insert->entry);
		address += PAGE_SIZE;
		pte++;
	}
	return 0;
}

/*
 * Like pte_offset_map_lock(), which is not exported. The page table stays while
 * the lock of the mapping is held. (The entry is compared again nevertheless. If
 * it has changed, nothing is inserted, and the access faults again.)
 */
static int rdma_insert_into_table(pmd_t *pmdp, pmd_t pmd, unsigned long address,
				  struct rdma_insert *insert)
{
	spinlock_t *lock;

	if (WARN_ON_ONCE(pmd_leaf(pmd)))
		return -EFAULT;
	lock = pte_lockptr(insert->mm, &pmd);
	spin_lock(lock);
	if (pmd_same(pmd, pmdp_get_lockless(pmdp)))
		rdma_insert(pte_offset_kernel(&pmd, address), address, insert);
	spin_unlock(lock);
	return 0;
}

/*
 * vma/fault.rs. The whole range must be covered by the page table for the
 * address of the fault, which is allocated if there is none. There must be no
 * huge page.
 *
 * The loop takes 10 instructions per entry, vmf_insert_pfn() takes 800.
 * apply_to_page_range() is used only to allocate the page table, because it takes
 * 480 instructions, with the lock.
 */
int rdma_helper_insert_pfns(const struct vm_fault *vmf, unsigned long address,
			    unsigned long pfn, unsigned long pages)
{
	struct vm_area_struct *vma = vmf->vma;
	pmd_t pmd = pmdp_get_lockless(vmf->pmd);
	struct rdma_insert insert = {
		.mm = vma->vm_mm,
		.entry = pfn_pte(pfn, vma->vm_page_prot),
		.pages = pages,
	};

	if (rdma_helper_maps_writable(vmf))
		insert.entry = pte_mkyoung(pte_mkdirty(insert.entry));
	if (pmd_none(pmd))
		return apply_to_page_range(vma->vm_mm, address, PAGE_SIZE,
					   rdma_insert, &insert);
	return rdma_insert_into_table(vmf->pmd, pmd, address, &insert);
}

/*
 * address_space.rs. The file operations are those of the kernel, because the last
 * reference to the file can be dropped after this module was unloaded.
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

/* clock.rs */
s64 rdma_helper_monotonic_to_host(s64 ns)
{
	return timens_ktime_to_host(CLOCK_MONOTONIC, ns);
}
