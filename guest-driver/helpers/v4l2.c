// SPDX-License-Identifier: GPL-2.0
/*
 * V4L2 and memory: C functions for macros and inlines that bindgen cannot bind.
 */

#include <linux/dma-buf.h>
#include <linux/dma-direct.h>
#include <linux/dma-fence.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pci.h>
#include <linux/pseudo_fs.h>
#include <linux/vmalloc.h>

#include <media/v4l2-dev.h>
#include <media/v4l2-fh.h>

#include "v4l2.h"

MODULE_IMPORT_NS("DMA_BUF");

struct module *v4l2_helper_this_module(void)
{
	return THIS_MODULE;
}

static const struct v4l2_helper_ioctl_ops *ioctl_ops(struct file *file)
{
	return container_of(video_devdata(file)->ioctl_ops, struct v4l2_helper_ioctl_ops, ops);
}

int v4l2_helper_streamon(struct file *file, void *private, enum v4l2_buf_type type)
{
	return ioctl_ops(file)->streamon(file, private, type);
}

int v4l2_helper_streamoff(struct file *file, void *private, enum v4l2_buf_type type)
{
	return ioctl_ops(file)->streamoff(file, private, type);
}

static const struct v4l2_helper_dma_buf_ops *dma_buf_ops(struct dma_buf_attachment *attachment)
{
	return container_of(attachment->dmabuf->ops, struct v4l2_helper_dma_buf_ops, virtio.ops);
}

struct sg_table *v4l2_helper_map_dma_buf(struct dma_buf_attachment *attachment,
					 enum dma_data_direction direction)
{
	return dma_buf_ops(attachment)->map(attachment, direction);
}

void v4l2_helper_unmap_dma_buf(struct dma_buf_attachment *attachment, struct sg_table *table,
			       enum dma_data_direction direction)
{
	dma_buf_ops(attachment)->unmap(attachment, table, direction);
}

phys_addr_t v4l2_helper_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}

/* The guest-physical address of what is mapped for @dev at @addr. */
phys_addr_t v4l2_helper_dma_to_phys(struct device *dev, dma_addr_t addr)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	return domain ? iommu_iova_to_phys(domain, addr) : dma_to_phys(dev, addr);
}

void v4l2_helper_dma_buf_ref(struct dma_buf *dmabuf)
{
	get_dma_buf(dmabuf);
}

/* Maps memory of a device, which has no pages, for @dev. */
int v4l2_helper_map_resource(struct device *dev, struct sg_table *table, phys_addr_t addr,
			     unsigned int len, enum dma_data_direction dir)
{
	dma_addr_t dma;
	int ret;

	ret = sg_alloc_table(table, 1, GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret;
	dma = dma_map_resource(dev, addr, len, dir, 0);
	if (dma_mapping_error(dev, dma)) {
		sg_free_table(table);
		return -EIO;
	}
	sg_set_page(table->sgl, NULL, len, 0);
	sg_dma_address(table->sgl) = dma;
	sg_dma_len(table->sgl) = len;
	return 0;
}

void v4l2_helper_unmap_resource(struct device *dev, struct sg_table *table,
				enum dma_data_direction dir)
{
	dma_unmap_resource(dev, sg_dma_address(table->sgl), sg_dma_len(table->sgl), dir, 0);
}

unsigned long v4l2_helper_ram_pages(void)
{
	return totalram_pages();
}

void *v4l2_helper_vmap(struct page **pages, unsigned int count)
{
	return vmap(pages, count, VM_MAP, PAGE_KERNEL);
}

void v4l2_helper_fence_put(struct dma_fence *fence)
{
	dma_fence_put(fence);
}

/*
 * Fills in where the device is, as the core does for PCI functions and platform devices only.
 * Programs and v4l2-compliance accept neither another prefix nor an empty string.
 */
void v4l2_helper_bus_info(struct file *file, struct v4l2_capability *cap)
{
	struct device *dev = video_devdata(file)->dev_parent;

	if (dev->parent && dev_is_pci(dev->parent))
		snprintf(cap->bus_info, sizeof(cap->bus_info), "PCI:%s", dev_name(dev->parent));
	else
		snprintf(cap->bus_info, sizeof(cap->bus_info), "platform:%s", dev_name(dev));
}

/* Whether a call that changes something may be made, by V4L2's priorities. */
int v4l2_helper_prio_check(struct v4l2_fh *fh)
{
	return v4l2_prio_check(fh->vdev->prio, fh->prio);
}

const char *v4l2_helper_node_name(struct video_device *vdev)
{
	return video_device_node_name(vdev);
}

void v4l2_helper_poll_wait(struct file *file, wait_queue_head_t *wait,
			   struct poll_table_struct *table)
{
	poll_wait(file, wait, table);
}

void v4l2_helper_wake_up(wait_queue_head_t *wait, __poll_t events)
{
	wake_up_interruptible_poll(wait, events);
}

bool v4l2_helper_has_sleeper(wait_queue_head_t *wait)
{
	return wq_has_sleeper(wait);
}

__poll_t v4l2_helper_poll_requested(const struct poll_table_struct *table)
{
	return poll_requested_events(table);
}

static int space_init_fs_context(struct fs_context *context)
{
	return init_pseudo(context, 0x56344c32) ? 0 : -ENOMEM;
}

/*
 * What the inodes of address spaces are of. It has no owner: a bound device has such an inode, and
 * must not keep the module from being removed. Whoever else has one has the module, too.
 */
static struct file_system_type space_type = {
	.name = "virtio_v4l2",
	.init_fs_context = space_init_fs_context,
	.kill_sb = kill_anon_super,
};

static struct vfsmount *space_mount;
static int space_users;

/* An inode for its address space alone. */
struct inode *v4l2_helper_space_new(void)
{
	struct inode *inode;
	int ret;

	ret = simple_pin_fs(&space_type, &space_mount, &space_users);
	if (ret)
		return ERR_PTR(ret);
	inode = alloc_anon_inode(space_mount->mnt_sb);
	if (IS_ERR(inode))
		simple_release_fs(&space_mount, &space_users);
	return inode;
}

void v4l2_helper_space_free(struct inode *inode)
{
	iput(inode);
	simple_release_fs(&space_mount, &space_users);
}

/* What is mapped through @file from now on is found in the address space of @inode. */
void v4l2_helper_space_adopt(struct inode *inode, struct file *file)
{
	file->f_mapping = inode->i_mapping;
}

void v4l2_helper_space_unmap(struct inode *inode)
{
	unmap_mapping_range(inode->i_mapping, 0, 0, 1);
}

/*
 * Makes the area, which nobody sees yet, one of memory without pages, of which nothing is mapped so
 * far. Protection and caching are what the area has: the memory is RAM of the host.
 */
void v4l2_helper_vma_device(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
}

void *v4l2_helper_fault_data(const struct vm_fault *fault)
{
	return fault->vma->vm_private_data;
}

/* A page fault maps what lies around it, too: frames are read and written as a whole. */
#define FAULT_AROUND SZ_4M

struct insertion {
	struct vm_area_struct *vma;
	unsigned long pfn;
};

static int insert_pfn(pte_t *pte, unsigned long addr, void *data)
{
	struct insertion *at = data;
	struct vm_area_struct *vma = at->vma;

	if (pte_none(ptep_get(pte)))
		set_pte_at(vma->vm_mm, addr, pte,
			   pte_mkspecial(pfn_pte(at->pfn, vma->vm_page_prot)));
	at->pfn++;
	return 0;
}

/*
 * Maps pages of an area of v4l2_helper_vma_device() to memory from frame @pfn on, which has @count
 * pages. The first of them is the one at page @first of the file.
 *
 * Not vmf_insert_pfn(): on x86 it maps memory uncached of which nobody has said how it is to be
 * cached.
 */
vm_fault_t v4l2_helper_fault(struct vm_fault *fault, unsigned long pfn, unsigned long first,
			     unsigned long count)
{
	struct vm_area_struct *vma = fault->vma;
	unsigned long start, end, index;
	struct insertion at = { vma };

	if (fault->pgoff < first || fault->pgoff - first >= count)
		return VM_FAULT_SIGBUS;
	start = max(ALIGN_DOWN(fault->address, FAULT_AROUND), vma->vm_start);
	end = min(ALIGN_DOWN(fault->address, FAULT_AROUND) + FAULT_AROUND, vma->vm_end);
	/* The area was within the memory when it was made, and its parts are. */
	index = linear_page_index(vma, start) - first;
	if (index >= count || (end - start) >> PAGE_SHIFT > count - index)
		return VM_FAULT_SIGBUS;
	at.pfn = pfn + index;
	if (apply_to_page_range(vma->vm_mm, start, end - start, insert_pfn, &at))
		return VM_FAULT_OOM;
	return VM_FAULT_NOPAGE;
}

/* Maps the @index-th page of the area, which nobody sees yet, to @page. */
int v4l2_helper_insert_page(struct vm_area_struct *vma, unsigned long index, struct page *page)
{
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	return vm_insert_page(vma, vma->vm_start + index * PAGE_SIZE, page);
}

void v4l2_helper_vma_no_write(struct vm_area_struct *vma)
{
	vm_flags_clear(vma, VM_MAYWRITE);
}

/* Has @ops called for what changes in memory of the calling process. A kernel thread has none. */
int v4l2_helper_watch(struct mmu_interval_notifier *notifier, unsigned long start,
		      unsigned long len, const struct mmu_interval_notifier_ops *ops)
{
	if (!current->mm)
		return -EFAULT;
	return mmu_interval_notifier_insert(notifier, current->mm, start, len, ops);
}

/*
 * Whether it is memory of the calling process that is watched. (The other process's structure lives
 * as long as the notifier.)
 */
bool v4l2_helper_watches_caller(const struct mmu_interval_notifier *notifier)
{
	return notifier->mm == current->mm;
}
