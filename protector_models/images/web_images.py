"""Images on web servers: only from hosts and ports that are configured, wherever redirects lead."""

from collections.abc import Sequence

from protector_models.images.download import ImageDownloads
from protector_models.images.fetch_error import ImageFetchError
from protector_models.images.web_addresses import WebAddress, join_web_address, parse_web_address, require_listed
from protector_models.moderation.images import ImageFault


class WebImages:
    """Fetches http and https references."""

    def __init__(
        self, *, downloads: ImageDownloads, hosts: Sequence[str], ports: Sequence[int], max_redirects: int
    ) -> None:
        """Put it together; nothing is connected.

        Args:
            downloads: downloads, over connections whose addresses are checked.
            hosts: from where; the forms are those of `require_listed`.
            ports: on which ports.
            max_redirects: how many redirects are followed.
        """
        self._downloads = downloads
        self._hosts = tuple(hosts)
        self._ports = frozenset(ports)
        self._max_redirects = max_redirects

    async def fetch(self, reference: str) -> bytes:
        """Return what a URL leads to.

        Raises:
            ImageFetchError: it could not be had, and why.
        """
        address = parse_web_address(reference)
        require_listed(address, hosts=self._hosts, ports=self._ports)
        return await self._downloads.get(address, follow=self._follow, max_redirects=self._max_redirects)

    def _follow(self, address: WebAddress, location: str) -> WebAddress:
        """Return where a redirect leads: what may not be a reference may not be the end of one."""
        try:
            target = join_web_address(address, location)
            require_listed(target, hosts=self._hosts, ports=self._ports)
        except ImageFetchError as error:
            # Without where to: the name of a host inside is nobody's business outside.
            message = f"{address.label}: redirected to where no reference may lead ({error.fault})"
            raise ImageFetchError(ImageFault.REDIRECT_NOT_ALLOWED, message) from error
        return target
