// The mass of a run of logits, and sums of them in a fixed order.
#pragma once

#include "logits.cuh"

struct Mass {
    // At the ask's temperature.
    double warm;
    double at_one;
};

__device__ __forceinline__ Mass total(const Mass* parts, uint32_t count) {
    Mass sum{0.0, 0.0};
    for (uint32_t i = 0; i < count; ++i) {
        sum.warm += parts[i].warm;
        sum.at_one += parts[i].at_one;
    }
    return sum;
}
