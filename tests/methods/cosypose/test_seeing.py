"""What the small network sees."""

import torch

from pose_models.methods.cosypose.backbones import SmallEncoder, edges


def test_edges_are_the_same_for_light_beside_dark_and_dark_beside_light():
    image = torch.rand((1, 3, 20, 30), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(edges(1 - image), edges(image), atol=1e-5, rtol=0)
    torch.testing.assert_close(edges(image + 0.5), edges(image), atol=1e-5, rtol=0)
    ramp = torch.linspace(0, 1, 30).expand(1, 3, 20, 30)
    cosine, sine, strength = edges(ramp)[0, :, 10, 15]
    assert cosine > 0.9 * strength > 0  # what changes along x has direction 0, along y a half turn
    assert abs(sine) < 1e-6
    assert edges(ramp.transpose(2, 3))[0, 0, 15, 10] < 0
    assert torch.equal(edges(torch.full((1, 3, 9, 9), 0.3)), torch.zeros(1, 3, 9, 9))


def test_the_small_network_tells_where_things_are():
    """Its features keep cells apart: a thing elsewhere gives others."""
    torch.manual_seed(0)
    encoder = SmallEncoder().eval()
    pairs = torch.zeros((2, 6, 36, 48))
    pairs[0, :, 8:16, 8:16], pairs[1, :, 20:28, 32:40] = 1, 1
    with torch.no_grad():
        features = encoder(pairs)
    assert features.shape == (2, SmallEncoder.features, 1, 1)
    assert (features[0] - features[1]).abs().max() > 0.1 * features.abs().max()
