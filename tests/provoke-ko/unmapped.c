// SPDX-License-Identifier: GPL-2.0-only
/* Unmaps for DMA what was never mapped. In C: Rust has no DMA in 6.12. */

#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/platform_device.h>

static int __init unmapped_init(void)
{
	struct platform_device *device;

	device = platform_device_register_simple("unmapped", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(device))
		return PTR_ERR(device);
	dma_unmap_single(&device->dev, 0x1000, PAGE_SIZE, DMA_TO_DEVICE);
	platform_device_unregister(device);
	return 0;
}
module_init(unmapped_init);

static void __exit unmapped_exit(void)
{
}
module_exit(unmapped_exit);

MODULE_AUTHOR("Rapidswap");
MODULE_DESCRIPTION("Unmaps what is not mapped");
MODULE_LICENSE("GPL");
