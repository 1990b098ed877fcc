// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Fences that fail, which no driver in a VM gives out: see test-fence.h. */
#include "test-fence.h"

#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>

struct test_fence {
	struct dma_fence base;
	spinlock_t lock;
};

static const char *name(struct dma_fence *fence)
{
	return "test_fence";
}

static const struct dma_fence_ops fence_ops = {
	.get_driver_name = name,
	.get_timeline_name = name,
};

static int fence_open(struct inode *inode, struct file *file)
{
	struct test_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	if (!fence)
		return -ENOMEM;
	spin_lock_init(&fence->lock);
	dma_fence_init(&fence->base, &fence_ops, &fence->lock, dma_fence_context_alloc(1), 1);
	file->private_data = fence;
	return 0;
}

static int fence_release(struct inode *inode, struct file *file)
{
	struct test_fence *fence = file->private_data;

	dma_fence_signal(&fence->base);
	dma_fence_put(&fence->base);
	return 0;
}

static int fence_attach(struct test_fence *fence, int fd)
{
	struct dma_buf *dmabuf = dma_buf_get(fd);
	int ret;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	dma_resv_lock(dmabuf->resv, NULL);
	ret = dma_resv_reserve_fences(dmabuf->resv, 1);
	if (!ret)
		dma_resv_add_fence(dmabuf->resv, &fence->base, DMA_RESV_USAGE_WRITE);
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
	return ret;
}

static long fence_ioctl(struct file *file, unsigned int code, unsigned long argument)
{
	struct test_fence *fence = file->private_data;

	switch (code) {
	case TEST_FENCE_ATTACH:
		return fence_attach(fence, argument);
	case TEST_FENCE_SIGNAL:
		if (argument > MAX_ERRNO)
			return -EINVAL;
		if (dma_fence_is_signaled(&fence->base))
			return -EALREADY;
		if (argument)
			dma_fence_set_error(&fence->base, -(int)argument);
		dma_fence_signal(&fence->base);
		return 0;
	default:
		return -ENOTTY;
	}
}

static const struct file_operations file_ops = {
	.owner = THIS_MODULE,
	.open = fence_open,
	.release = fence_release,
	.unlocked_ioctl = fence_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "test_fence",
	.fops = &file_ops,
};
module_misc_device(device);

MODULE_DESCRIPTION("Fences for tests");
MODULE_LICENSE("Dual BSD/GPL");
MODULE_IMPORT_NS("DMA_BUF");
