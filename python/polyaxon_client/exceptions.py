class PolyaxonClientException(Exception):
    pass
